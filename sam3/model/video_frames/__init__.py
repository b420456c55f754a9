"""Frames of videos: where they come from, in which order, and how they become model input."""
