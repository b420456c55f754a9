"""Matching of predictions to ground truth: costs, assignment solvers, one-to-many selection."""
