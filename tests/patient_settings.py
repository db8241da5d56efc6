"""The project's settings for a server or command that shares a SQLite database with others.

SQLite serves those who wait for its lock in no order: on a busy machine, one of eight callers can
wait for more than the five seconds after which it is refused.
"""

from config.settings import *  # noqa: F403
from config.settings import DATABASE

if "timeout" in DATABASE["OPTIONS"]:
    DATABASE["OPTIONS"]["timeout"] = 60
