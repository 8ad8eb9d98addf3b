"""Does training make a model's middle layers name the class of a prompt? The study, its arms and its claims."""
