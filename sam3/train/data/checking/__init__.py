"""The parts of ``sam3.train.data.checks``: faults of values, of rows, of videos, and the report."""
