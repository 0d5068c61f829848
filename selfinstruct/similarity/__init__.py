"""How alike are two texts? Tokens, and indexes that answer exactly, over any number of texts. Knows nothing of ours."""
