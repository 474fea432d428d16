"""Shards → model → evidence. Nothing here knows of etl; the two meet in what lies on disk."""
