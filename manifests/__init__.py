"""The contracts: what is asked (recipe), what is known (table), what is stored (pixels, shards, store)."""
