"""Rooms of the vision trunk: windows, positions, attention, blocks."""
