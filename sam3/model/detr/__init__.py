"""Rooms of the DETR decoder: layer, box-relative bias."""
