"""Where the parts of a model are, and what can be told of them without a tokenizer."""
