"""Leaf modules without a notion of SAM 3: attention, MLP, activations, fixed-keyword checks."""
