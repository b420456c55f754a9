"""A fine-tuning that anyone can repeat: teach the bundled model a colour it has never seen."""
