"""Evaluation: post-processors, prediction files and the metrics that are computed from them.

Configurations name the classes by their modules here; ``protocols`` says how they are called.
"""
