#!/bin/sh
# Fill in the templates for an Nginx on this machine: deploy/render.sh nginx.env /etc/nginx/conf.d
# nginx.env has one NAME=value per line; deploy/nginx.conf.template lists the names.
set -eu
umask 077 # the result contains the portal code
set -a
. "$(realpath "$1")"
set +a
# Only the names in the file, so that Nginx's own variables such as $host are kept.
names=$(sed -n 's/^\([A-Z_]*\)=.*/$\1/p' "$1")
templates=$(dirname "$0")
envsubst "$names" <"$templates/nginx.conf.template" >"$2/connections.conf"
if [ -n "${TLS_CERTIFICATE:-}" ]; then
  envsubst "$names" <"$templates/tls.conf.template" >"$2/connections-tls.conf"
fi
