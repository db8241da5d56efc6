"""What the server runs: `config.wsgi:application`."""

import os
import sys
from io import StringIO

from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.core.wsgi import get_wsgi_application

from config.web_chain.wsgi import ChunkedBodies, WebRequest

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

try:
    handler = get_wsgi_application()
    # The server itself runs no checks: a process with a missing or weak secret must not answer.
    call_command("check", stdout=StringIO())
except (ImproperlyConfigured, CommandError) as error:
    sys.exit(f"Error: {error}")
handler.request_class = WebRequest
application = ChunkedBodies(handler)
