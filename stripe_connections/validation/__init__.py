"""The rules for each field, for the API, the admin and the commands."""
