"""Rooms of the tracker: memory selection, tokens and writing; session state and its rules."""
