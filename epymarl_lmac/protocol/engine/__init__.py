"""What builds, checks, keeps and runs a program. Read ``build.py`` first, then ``program.py``."""
