"""The audit: records are written, the history is read."""
