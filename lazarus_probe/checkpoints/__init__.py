"""From a name or a folder to a model and its tokenizer, with every file checked before it is used."""
