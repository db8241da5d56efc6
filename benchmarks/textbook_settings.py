"""Settings of the textbook version: what `startproject` writes, over the product's database."""

from config.settings import *  # noqa: F403
from config.settings import DATABASES, INSTALLED_APPS

ROOT_URLCONF = "benchmarks.textbook"
INSTALLED_APPS = [
    *INSTALLED_APPS,
    "django.contrib.sessions",
    "django.contrib.messages",
    "benchmarks",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
# Persistent connections, which textbooks do tell of; without them it is half as fast again.
_options = {
    name: value for name, value in DATABASES["default"]["OPTIONS"].items() if name == "host"
}
DATABASES = {"default": {**DATABASES["default"], "OPTIONS": _options, "CONN_MAX_AGE": 3600}}
REST_FRAMEWORK: dict[str, object] = {}
SECURE_SSL_REDIRECT = False
