#!/bin/sh
# Create a random value for each secret of compose.yaml in a directory:
#   deploy/make-secrets.sh secrets
# Also copy a certificate and its key there, over older ones:
#   deploy/make-secrets.sh secrets fullchain.pem key.pem
# Other secrets that exist are kept. Store a copy of fernet_keys apart from the database backups.
set -eu
umask 077
mkdir -p "$1"
if [ $# -gt 1 ]; then
  # Overwritten, not replaced: a container keeps reading the file that it was started with.
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
# The containers read the files as other users; the directory protects them from everybody else.
chmod 644 -- *
chmod 700 .
