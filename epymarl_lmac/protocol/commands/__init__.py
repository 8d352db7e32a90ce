"""``epymarl-lmac protocol``: show, check and compare protocols on the command line. Read ``cli.py``."""
