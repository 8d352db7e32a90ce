"""Pieces that every learner here shares: packed sequences, a fused GRU, losses, a flat optimiser."""
