"""The project's settings for tests: random keys, no `.env`, and no settings from the shell.

Only DATABASE_URL comes from the environment: it selects the database.
"""

import os
import secrets

from cryptography.fernet import Fernet

KEPT = {"DATABASE_URL"}
NAMES = ("ALLOWED_HOSTS", "DEBUG", "FERNET_KEYS", "LOG_LEVEL", "METRICS_TOKEN", "NUM_PROXIES")
PREFIXES = ("CORS_", "JWT_", "PORTAL_", "SECRET_KEY", "STRIPE_", "THROTTLE_")
for name in list(os.environ):
    if name not in KEPT and (name.removesuffix("_FILE") in NAMES or name.startswith(PREFIXES)):
        del os.environ[name]
os.environ["ENV_FILE"] = os.devnull
os.environ["SECRET_KEY"] = secrets.token_urlsafe(50)
os.environ["JWT_SIGNING_KEY"] = secrets.token_urlsafe(50)
os.environ["FERNET_KEYS"] = f"{Fernet.generate_key().decode()},{Fernet.generate_key().decode()}"
os.environ["ALLOWED_HOSTS"] = "testserver,localhost,127.0.0.1"
os.environ |= dict.fromkeys(
    ("THROTTLE_STRIPE", "THROTTLE_TOKEN", "THROTTLE_USER", "THROTTLE_WORKSPACE"), ""
)

from config.settings import *  # noqa: E402, F403
from config.settings import DATABASE  # noqa: E402

# On a busy machine, a lock may be held for long. Tests of the timeout set a short one.
LOCK_TIMEOUT_SECONDS = 60
if "timeout" in DATABASE["OPTIONS"]:
    DATABASE["OPTIONS"]["timeout"] = LOCK_TIMEOUT_SECONDS

# The real hasher takes a third of a second for each user.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

# Otherwise each test client scans all static files. tests/deploy/ tests the real setting.
WHITENOISE_AUTOREFRESH = True
