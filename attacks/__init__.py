"""Attacks in [0, 1] pixel space, one a file."""
