"""Helpers of the models: clicks, transforms, frame loading, moving data between devices."""
