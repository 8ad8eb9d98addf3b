"""Complete studies of a model: training, measurements before and after it, and the files written."""
