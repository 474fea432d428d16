"""Source → image table → views → shards. Nothing here knows of training; the two meet in what lies on disk."""
