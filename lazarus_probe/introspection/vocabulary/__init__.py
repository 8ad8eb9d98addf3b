"""Whether a layer's logit lens says the word of a class."""
