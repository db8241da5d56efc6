"""The WSGI application that the server runs: `config.wsgi:application`."""

import os
import sys
from io import StringIO
from multiprocessing import parent_process
from threading import Thread

import django
from django.core.cache import close_caches
from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.base import reset_urlconf
from django.core.management import CommandError, call_command
from django.core.signals import request_finished
from django.db import close_old_connections
from django.utils.module_loading import import_string


def _end_with_server() -> None:
    """End this worker if its main process was killed: it would keep the port."""
    parent = parent_process()
    if parent:
        parent.join()
        os._exit(1)


Thread(target=_end_with_server, daemon=True).start()
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

try:
    django.setup(set_prefix=False)
    # Granian does not run Django's checks, and a process with a missing or weak secret must not
    # start.
    call_command("check", stdout=StringIO())
except (ImproperlyConfigured, CommandError) as error:
    sys.exit(f"Error: {error}")

# These handlers would only take time. The service has no cache, and one URLconf for all requests.
request_finished.disconnect(close_caches)
request_finished.disconnect(reset_urlconf)
# `WebHandler` does the same when the next request of the thread starts.
request_finished.disconnect(close_old_connections)
# Imported last, because its modules read the settings.
application = import_string("config.web_chain.middleware.WebHandler")()
import_string("config.observability.metrics.WORKER_STARTS").inc()
