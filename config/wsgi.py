"""What the server runs: `config.wsgi:application`."""

import os
from io import StringIO

from django.core.management import call_command
from django.core.wsgi import get_wsgi_application

from config.web_chain.wsgi import ChunkedBodies, WebRequest

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

handler = get_wsgi_application()
handler.request_class = WebRequest
application = ChunkedBodies(handler)
# The server itself runs no checks: a process with a missing or weak secret must not answer.
call_command("check", stdout=StringIO())
