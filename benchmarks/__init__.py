"""Measurements, each a command: one table for a person, one JSON line for a script. No test: they take minutes."""
