"""What keeps the secrets: the key ring, the encrypted field, and what may be known beside it."""
