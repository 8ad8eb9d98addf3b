"""Does training make a model's middle layers name what they classify? The study, its arms and its claims."""
