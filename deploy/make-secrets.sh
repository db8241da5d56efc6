#!/bin/sh
# Write a random secret for each of compose.yaml's into a directory: deploy/make-secrets.sh secrets
# With the files of a certificate and its key, these are copied as well, over older ones:
#   deploy/make-secrets.sh secrets fullchain.pem key.pem
# Any other secret that exists stays. Keep a copy of fernet_keys apart from the database's backups.
set -eu
umask 077
mkdir -p "$1"
if [ $# -gt 1 ]; then
  # Written over, not replaced: a container would go on reading the file that it was started with.
  cat "$2" >"$1/tls_certificate"
  cat "$3" >"$1/tls_certificate_key"
fi
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
