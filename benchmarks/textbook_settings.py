"""Settings of the textbook version: those of `startproject`, with the product's database."""

import os

import environ

SECRET_KEY = os.environ["SECRET_KEY"]
FERNET_KEYS = os.environ["FERNET_KEYS"].split(",")
FERNET_USE_HKDF = False
SIMPLE_JWT = {"SIGNING_KEY": os.environ["JWT_SIGNING_KEY"], "CHECK_REVOKE_TOKEN": True}
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "benchmarks.textbook"
# Textbooks mention persistent connections, too; without them, this version is half as fast.
DATABASES = {"default": environ.Env().db_url("DATABASE_URL") | {"CONN_MAX_AGE": 3600}}
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "rest_framework",
    "auditlog",
    "workspaces",
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
