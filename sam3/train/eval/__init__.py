"""Evaluation: metrics as pure functions and the commands that write reports."""
