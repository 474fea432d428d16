"""Which learning rate to begin with: `search` tries them from small to large, `page` draws what came of it."""
