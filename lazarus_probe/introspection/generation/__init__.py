"""What a model goes on to say, and what an edit does to it."""
