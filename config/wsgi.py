"""What the server runs: `config.wsgi:application`."""

import os
from io import StringIO

from django.core.management import call_command
from django.core.wsgi import get_wsgi_application

from config.web_chain.chunked import ChunkedBodies

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

application = ChunkedBodies(get_wsgi_application())
# The server itself runs no checks: a process with a missing or weak secret must not answer.
call_command("check", stdout=StringIO())
