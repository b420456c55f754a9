"""Optimisation: parameter groups, schedules, gradient clipping, averaged weights."""
