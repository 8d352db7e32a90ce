"""What a program does: where its inputs go, what every receiver gets, how two programs differ. Read ``profile.py``."""
