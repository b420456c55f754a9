"""What happens to a datapoint between the file and the batch: ``t(datapoint, epoch=...)``."""
