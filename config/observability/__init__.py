"""What is known about every request: its log line, its metrics, and whether we can serve more."""
