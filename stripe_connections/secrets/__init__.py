"""The encrypted secrets: the key ring, the model field, and the columns beside a ciphertext."""
