"""Threads that a native server such as Granian starts end without any notice to Python."""

import subprocess
import sys

import pytest

from tests.production import PRODUCTION
from tests.service import ROOT

# Each thread is started without Python, reads from the database and ends.
THREADS = """
import ctypes, os
import django
django.setup()
from django.db import connection

@ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)
def read(_):
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return 0

system = ctypes.CDLL(None)
for _ in range(20):
    thread = ctypes.c_ulong()
    system.pthread_create(ctypes.byref(thread), None, read, None)
    system.pthread_join(thread, None)
descriptors = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
opened = [os.readlink(path) for path in descriptors if os.path.exists(path)]
print(sum(name.endswith("threads.sqlite3") for name in opened))
"""

pytestmark = [
    pytest.mark.only_on("sqlite", reason="test_stale_sessions.py tests this with PostgreSQL"),
    pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc"),
]


def test_ended_threads_do_not_crash_or_leave_databases_open(tmp_path):
    settings = {"DJANGO_SETTINGS_MODULE": "config.settings"}
    url = {"DATABASE_URL": f"sqlite:///{tmp_path}/threads.sqlite3"}
    ended = subprocess.run(
        [sys.executable, "-c", THREADS],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=PRODUCTION | settings | url,
    )

    assert (ended.returncode, ended.stderr) == (0, "")
    # The last database stays open until another thread opens one.
    assert int(ended.stdout) <= 2
