"""Battles in the manner of StarCraft II: maps, simulator, and SMAC's interface on top of it."""
