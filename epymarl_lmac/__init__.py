"""LMAC and the communication baselines for EPyMARL-shaped hosts."""

__version__ = "0.1.0"
