"""Training of the bundled tiny checkpoint from drawn scenes: ``python -m sam3.train.tiny``."""
