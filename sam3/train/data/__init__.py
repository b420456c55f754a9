"""Data sets, transforms and collation for training."""
