"""Geometric prompts: the container and the embedding of its parts."""
