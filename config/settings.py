"""Settings of the project. Everything that differs between deployments is in the environment.

`docs/settings.md` lists the variables. `NAME_FILE` may name a file with the value of `NAME`.
No secret has a default: without one, `stripe_connections/checks.py` stops the start.
"""

import os
import secrets
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

from csp.constants import NONE as CSP_NONE
from csp.constants import SELF as CSP_SELF
from django.core.exceptions import ImproperlyConfigured

from config.environment import Environment

BASE_DIR = Path(__file__).resolve().parent.parent
ENV_FILE = Path(os.environ.get("ENV_FILE") or BASE_DIR / ".env")
env = Environment.with_file(ENV_FILE)
if not any(name in env for name in ("SECRET_KEY", "FERNET_KEYS", "JWT_SIGNING_KEY")):
    raise ImproperlyConfigured(
        "No keys are set (stripe_connections.E001, E002, E004) and .env has none: `make .env` "
        "writes one with random keys; docs/settings.md says how to set them in production."
    )

# ── Core ──────────────────────────────────────────────────────────────────────────────────────
DEBUG = env.switch("DEBUG", default=False)
# Whether the users whose passwords `load_demo` prints may log in.
DEMO_PEOPLE = env.switch("DEMO_PEOPLE", default=DEBUG)
# Django does not load without a value. This placeholder differs in every process, and has the
# prefix by which the start-up checks recognize and refuse it.
SECRET_KEY = env.str("SECRET_KEY", "") or f"django-insecure-{secrets.token_urlsafe(50)}"
ALLOWED_HOSTS = [host for host in env.items("ALLOWED_HOSTS") if host]
ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
TIME_ZONE = "UTC"
FORMAT_MODULE_PATH = "config.formats"
STATIC_URL = "static/"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "axes",
    "csp",
    "django_otp",
    "django_otp.plugins.otp_totp",
    "rest_framework",
    "rest_framework_simplejwt.token_blacklist",
    "auditlog",
    "drf_spectacular_sidecar",
    "config.openapi",
    "workspaces",
    "stripe_connections",
    # Last, so that the templates of the apps above take the place of its own.
    "django.contrib.admin",
]
MIDDLEWARE = [
    "config.observability.requests.ObservabilityMiddleware",
    "config.web_chain.cors.CorsMiddleware",
    # Handles everything under /web/ itself; the following are for the other pages.
    "config.web_chain.middleware.WebChainMiddleware",
    "django.middleware.security.SecurityMiddleware",
    # Before the static files, because it refuses a host that is not in ALLOWED_HOSTS.
    "django.middleware.common.CommonMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "config.admin_middleware.AdminMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django_otp.middleware.OTPMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

# ── Database ──────────────────────────────────────────────────────────────────────────────────
DATABASES: dict[str, dict[str, Any]] = {
    "default": env.database("DATABASE_URL", f"sqlite:///{quote(f'{BASE_DIR}/var/db.sqlite3')}")
}
DATABASE = DATABASES["default"]
# Each thread of the server keeps its database connection for the next request. Health checks would
# cost a statement for each request; database_sessions.py replaces stale connections instead.
DATABASE["CONN_MAX_AGE"] = 60
# How long a request waits for a lock before the response is 503. It keeps a thread of the server
# while it waits; `statements.backoff` prevents that callers of one locked row keep all of them.
LOCK_TIMEOUT_SECONDS = 2
if DATABASE["ENGINE"] == "django.db.backends.sqlite3":
    try:
        Path(DATABASE["NAME"]).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"No directory for the database of DATABASE_URL: {error}."
        raise ImproperlyConfigured(message) from None
    DATABASE.setdefault("OPTIONS", {}).update(
        # SQLite locks the whole database, and waiters are not served in order.
        timeout=5,
        transaction_mode="IMMEDIATE",
        init_command="PRAGMA journal_mode = WAL",
    )
elif DATABASE["ENGINE"] == "django.db.backends.postgresql":
    # Without these, a database host that disappears would keep a thread waiting for 15 minutes, and
    # a new connection for two. A parameter of DATABASE_URL takes precedence.
    timeouts = {"connect_timeout": 5, "tcp_user_timeout": 5_000}
    timeouts |= {"keepalives_idle": 5, "keepalives_interval": 2}
    DATABASE["OPTIONS"] = timeouts | DATABASE.get("OPTIONS", {})
    DATABASE["OPTIONS"].update(
        server_side_binding=True,
        prepare_threshold=1 if env.switch("PREPARED_STATEMENTS", default=True) else None,
    )

# ── Secrets at rest ───────────────────────────────────────────────────────────────────────────
# Newest first: the first key encrypts, all of them decrypt. Each entry is a Fernet key.
FERNET_KEYS = [key for key in env.items("FERNET_KEYS") if key]
# How long a replaced secret can be restored; with 0, none is kept.
SECRET_UNDO_DAYS = min(env.count("SECRET_UNDO_DAYS", 7), 365)
# The admin points out older secrets; 0 is off.
SECRET_MAX_AGE_DAYS = env.count("SECRET_MAX_AGE_DAYS", 0)
STRIPE_API_KEY_PREFIXES = env.items("STRIPE_API_KEY_PREFIXES", "sk_,rk_")

# ── Verification with Stripe ──────────────────────────────────────────────────────────────────
STRIPE_VERIFY = env.switch("STRIPE_VERIFY", default=False)
STRIPE_VERIFY_REQUIRED = env.switch("STRIPE_VERIFY_REQUIRED", default=False)
STRIPE_REQUIRED_PERMISSIONS = [name for name in env.items("STRIPE_REQUIRED_PERMISSIONS") if name]
STRIPE_API_BASE = env.str("STRIPE_API_BASE", "") or "https://api.stripe.com"

# ── The WEB chain ─────────────────────────────────────────────────────────────────────────────
API_VERSION = "1.3.0"
PORTAL_ACCESS_CODE = env.str("PORTAL_ACCESS_CODE", "")
MAX_BODY_BYTES = 64 * 1024
# Pages of these origins can call /web/. Credentials mode stays off: a token is not a cookie.
CORS_ALLOWED_ORIGINS = [origin for origin in env.items("CORS_ALLOWED_ORIGINS") if origin]
CORS_URLS_REGEX = "^/web/"
CORS_ALLOW_METHODS = ["GET", "POST"]
CORS_ALLOW_HEADERS = ["authorization", "content-type", "idempotency-key", "if-match"]
CORS_EXPOSE_HEADERS = ["ETag", "Idempotent-Replayed", "Retry-After", "X-Request-Id"]

REST_FRAMEWORK: dict[str, Any] = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["workspaces.authentication.JWTAuthentication"],
    # Every view of the API sets its own; IsAdminUser refuses all tokens.
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAdminUser"],
    # No parser of Django REST Framework is strict: views use `parsers.json_object`.
    "DEFAULT_PARSER_CLASSES": [],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "config.web_chain.parsers.Negotiation",
    # Only for the negotiation: `envelope.success_response` renders.
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "EXCEPTION_HANDLER": "config.web_chain.exceptions.exception_handler",
    "URL_FORMAT_OVERRIDE": None,
    "UNAUTHENTICATED_USER": None,
    # The number of our proxies, which determines the client's address for the throttles.
    "NUM_PROXIES": env.count("NUM_PROXIES", 0),
    "DEFAULT_THROTTLE_RATES": {
        "user": env.str("THROTTLE_USER", "600/min") or None,
        "workspace": env.str("THROTTLE_WORKSPACE", "3000/min") or None,
        "token": env.str("THROTTLE_TOKEN", "10/min") or None,
        "stripe": env.str("THROTTLE_STRIPE", "20/hour") or None,
    },
}

# ── Tokens ────────────────────────────────────────────────────────────────────────────────────
# With JWT_VERIFYING_KEY or JWT_JWK_URL an identity provider issues the tokens, and this service
# only verifies them; otherwise it signs its own with JWT_SIGNING_KEY.
SIMPLE_JWT: dict[str, Any] = {
    "ACCESS_TOKEN_LIFETIME": timedelta(minutes=15),
    "REFRESH_TOKEN_LIFETIME": timedelta(days=7),
    "ALGORITHM": env.str("JWT_ALGORITHM", "HS256"),
    "SIGNING_KEY": env.str("JWT_SIGNING_KEY", ""),
    "VERIFYING_KEY": env.str("JWT_VERIFYING_KEY", "", multiline=True),
    "JWK_URL": env.str("JWT_JWK_URL", "") or None,
    "AUDIENCE": env.str("JWT_AUDIENCE", "") or None,
    "ISSUER": env.str("JWT_ISSUER", "") or None,
    "LEEWAY": env.count("JWT_LEEWAY", 0),
    "USER_ID_CLAIM": env.str("JWT_USER_ID_CLAIM", "user_id"),
    "USER_ID_FIELD": env.str("JWT_USER_ID_FIELD", "id"),
    "CHECK_REVOKE_TOKEN": True,
}

# ── Staff in the admin ────────────────────────────────────────────────────────────────────────
# Whether the login also requires a code of an authenticator app.
STAFF_SECOND_FACTOR = env.switch("STAFF_SECOND_FACTOR", default=False)
OTP_TOTP_ISSUER = "Stripe Connections"
OTP_ADMIN_HIDE_SENSITIVE_DATA = True
# NIST SP 800-63B-4, section 3.1.1.2: 15 characters if the password is the only factor, else 8.
PASSWORD_MIN_LENGTH = env.count(
    "PASSWORD_MIN_LENGTH", 8 if STAFF_SECOND_FACTOR or DEMO_PEOPLE else 15
)
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}", "OPTIONS": options}
    for name, options in (
        ("UserAttributeSimilarityValidator", {}),
        ("MinimumLengthValidator", {"min_length": PASSWORD_MIN_LENGTH}),
        ("CommonPasswordValidator", {}),
        ("NumericPasswordValidator", {}),
    )
]
AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",
    "django.contrib.auth.backends.ModelBackend",
]
# This number of wrong passwords for a user name, or from an address, blocks the login for a while.
# An attempt while it is blocked does not extend that, or an attacker could lock a user out forever.
AXES_LOCKOUT_PARAMETERS = ["username", "ip_address"]
AXES_FAILURE_LIMIT = 10
AXES_COOLOFF_TIME = timedelta(minutes=15)
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_HANDLER = "workspaces.throttles.LoginHandler"
AXES_CLIENT_IP_CALLABLE = "workspaces.throttles.client_address"
AXES_LOCKOUT_TEMPLATE = "admin/locked_out.html"
AXES_DISABLE_ACCESS_LOG = True
AXES_ENABLE_ADMIN = False
AXES_VERBOSE = False

# A session ends after half an hour without a request, or when the browser is closed.
SESSION_COOKIE_AGE = 30 * 60
SESSION_SAVE_EVERY_REQUEST = True
SESSION_EXPIRE_AT_BROWSER_CLOSE = True
SESSION_COOKIE_SECURE = not DEBUG
LOGIN_URL = "admin:login"
# A list has at most 1,000 rows, and the form that confirms an action sends all of them.
DATA_UPLOAD_MAX_NUMBER_FIELDS = 1_100

# Style sheets and scripts are served from the installed packages, so `collectstatic` is not needed
# and a fresh clone serves the same files as production.
WHITENOISE_USE_FINDERS = True
# Without 'unsafe-inline' and nonces, because no page has an inline script or style.
CONTENT_SECURITY_POLICY: dict[str, Any] = {
    "DIRECTIVES": {
        "default-src": [CSP_SELF],
        "img-src": [CSP_SELF, "data:"],
        "object-src": [CSP_NONE],
        "base-uri": [CSP_NONE],
        "form-action": [CSP_SELF],
        "frame-ancestors": [CSP_NONE],
    }
}

# ── Transport ─────────────────────────────────────────────────────────────────────────────────
# TLS ends at the proxy, which sets this header.
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SECURE_SSL_REDIRECT = not DEBUG
SECURE_HSTS_SECONDS = 0 if DEBUG else 365 * 24 * 3600
SECURE_HSTS_INCLUDE_SUBDOMAINS = True
SECURE_HSTS_PRELOAD = True
CSRF_COOKIE_SECURE = not DEBUG

# ── Logs, metrics and errors ──────────────────────────────────────────────────────────────────
DEFAULT_EXCEPTION_REPORTER_FILTER = "config.web_chain.exceptions.SilentReporterFilter"
LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "json": {"()": "config.observability.requests.JSONFormatter"},
        "terminal": {"()": "config.observability.requests.TerminalFormatter"},
    },
    "handlers": {
        "console": {
            "class": "logging.StreamHandler",
            "formatter": "terminal" if sys.stderr.isatty() else "json",
        }
    },
    "root": {
        "handlers": ["console"],
        "level": env.choice("LOG_LEVEL", "INFO", ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")),
    },
    "loggers": {
        # Django's default handlers would print additional lines, and mail stack traces.
        "django": {"handlers": [], "propagate": True},
        # Every request has a line already. These could repeat secrets from paths and headers.
        "django.request": {"level": "ERROR"},
        "django.security": {"level": "CRITICAL"},
        # So has every verification request, and these could repeat Stripe's replies.
        "stripe": {"level": "CRITICAL"},
        "urllib3": {"level": "CRITICAL"},
    },
}
METRICS_TOKEN = env.str("METRICS_TOKEN", "")

# Last, after all variables have been read.
UNKNOWN_VARIABLES = env.unknown_names()
