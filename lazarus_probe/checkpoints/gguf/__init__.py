"""Models in GGUF, llama.cpp's format: one file that holds weights, settings and tokenizer."""
