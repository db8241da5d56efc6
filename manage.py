#!/usr/bin/env python3
"""Django's command line for this project."""

import os
import sys


def main() -> None:
    """Run the command that the arguments name."""
    if sys.version_info < (3, 11):  # an older Python reads this line too
        sys.exit(f"Python 3.11 or later is needed; this is {sys.version.split()[0]}.")
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    try:
        from django.core.exceptions import ImproperlyConfigured
        from django.core.management import execute_from_command_line
        from django.db import Error
    except ImportError:
        sys.exit("Django is not installed here: run `make run`, or use .venv/bin/python.")
    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        sys.exit(f"Error: {error}")
    except Error as error:
        from config.database_sessions import is_unavailable

        if not is_unavailable(error):
            raise
        reason = str(error).partition("\n")[0]
        sys.exit(f"Error: {reason}. Is the database there, and `manage.py migrate` done?")


if __name__ == "__main__":
    main()
