"""Head-to-head comparison: a grid of runs, its statistics and its page. Start reading at ``plan.py``."""
