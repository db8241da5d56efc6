"""Benchmarks of the update call, compared with other implementations. Not part of the product."""
