"""Rooms of the decoder: layer, box-relative bias, memory attention."""
