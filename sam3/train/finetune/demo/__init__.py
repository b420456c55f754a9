"""A fine-tuning that anyone can repeat: teach the bundled model a shape it has never seen."""
