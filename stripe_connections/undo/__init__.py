"""Replaced secrets: kept for a while, restored, or given up as leaked."""
