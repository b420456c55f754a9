"""Procedural scenes of coloured shapes: drawing, phrases, pre-rendering and batches."""
