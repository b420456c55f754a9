"""Training of the tiny tracker from drawn clips: ``python -m sam3.train.tiny.tracking``."""
