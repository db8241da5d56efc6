"""What the server runs: `config.wsgi:application`."""

import os
import sys
from io import StringIO

from django.core.cache import close_caches
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections, reset_queries

from config.web_chain.wsgi import WebRequest, WholeBodies

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

try:
    handler = get_wsgi_application()
    # The server itself runs no checks: a process with a missing or weak secret must not answer.
    call_command("check", stdout=StringIO())
except (ImproperlyConfigured, CommandError) as error:
    sys.exit(f"Error: {error}")
handler.request_class = WebRequest
# At the end of a request its connection goes back to the pool, so that the next one has nothing to
# close or to forget. There is no cache.
request_started.disconnect(close_old_connections)
request_started.disconnect(reset_queries)
request_finished.disconnect(close_caches)
application = WholeBodies(handler)
