"""Training: data, losses, matchers, optimisation and the trainer.

Nothing below imports this package.
"""
