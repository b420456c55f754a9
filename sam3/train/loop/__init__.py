"""Parts of the training loop: settings, checkpoints, logs, clock, signals, several processes."""
