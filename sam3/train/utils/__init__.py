"""What runs of experiments share: configurations, logs, checkpoints, processes."""
