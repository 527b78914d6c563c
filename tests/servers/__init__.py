"""Fixtures: see the name of the file."""
