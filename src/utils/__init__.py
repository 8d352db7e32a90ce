"""Helpers of the host."""
