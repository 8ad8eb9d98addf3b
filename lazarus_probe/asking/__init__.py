"""How a model is asked: the form of a question, worked examples, forced choice, and what counts as an answer."""
