"""The audit of connections: `records` writes it, `history` reads it."""
