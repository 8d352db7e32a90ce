"""The record of a run: metrics, provenance, what is shown on the screen, curves."""
