"""Run a management command with production settings: `python -m tests.production check`."""

import os
import secrets
import sys

from cryptography.fernet import Fernet
from django.core.management import execute_from_command_line

PRODUCTION = {
    "DJANGO_SETTINGS_MODULE": "config.settings",
    "ENV_FILE": os.devnull,
    "DEBUG": "false",
    "ALLOWED_HOSTS": "connections.example.com",
    "SECRET_KEY": secrets.token_urlsafe(50),
    "JWT_SIGNING_KEY": secrets.token_urlsafe(50),
    "FERNET_KEYS": Fernet.generate_key().decode(),
    "PORTAL_ACCESS_CODE": secrets.token_urlsafe(50),
}

if __name__ == "__main__":
    os.environ.update(PRODUCTION)
    execute_from_command_line(["manage.py", *sys.argv[1:]])
