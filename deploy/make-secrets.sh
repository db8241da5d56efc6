#!/bin/sh
# Write a random secret for each of compose.yaml's into a directory: deploy/make-secrets.sh secrets
# What is there already stays. Keep a copy of fernet_keys apart from the database's backups.
set -eu
umask 077
mkdir -p "$1"
cd "$1"
random() { openssl rand -base64 "$1" | tr -d '\n' | tr '+/' '-_'; }
make() { [ -e "$1" ] || printf '%s\n' "$2" >"$1"; }
make secret_key "$(random 48)"
make jwt_signing_key "$(random 48)"
make fernet_keys "$(random 32)"
make portal_access_code "$(random 48)"
make metrics_token "$(random 48)"
make database_admin_password "$(openssl rand -hex 24)"
make database_password "$(openssl rand -hex 24)"
password=$(cat database_password)
make database_url "postgres://connections:$password@pgbouncer:6432/connections"
make pgbouncer_users "\"connections\" \"$password\""
# Containers read them as users of their own; the directory keeps everybody else out.
chmod 644 -- *
chmod 700 .
