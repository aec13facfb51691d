"""One wall a file: the attacks on it."""
