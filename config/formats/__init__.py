"""How pages show dates and times, by language."""
