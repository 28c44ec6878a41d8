"""Measurements: speed of the pipeline, and quality of detection against published baselines."""
