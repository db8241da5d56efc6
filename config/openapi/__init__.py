"""The description of the API for machines, and its readable page."""
