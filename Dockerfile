# syntax=docker/dockerfile:1
# The service only; compose.yaml adds Nginx, PgBouncer and PostgreSQL.
ARG PYTHON=python:3.11-slim-bookworm

FROM ${PYTHON} AS build
COPY requirements/production.txt /tmp/
# Checks the hashes in production.txt, and compiles nothing.
RUN python -m venv /opt/venv \
 && /opt/venv/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps \
      --require-hashes --only-binary=:all: -r /tmp/production.txt \
 && /opt/venv/bin/pip check
COPY manage.py LICENSE /opt/service/
COPY config /opt/service/config
COPY workspaces /opt/service/workspaces
COPY stripe_connections /opt/service/stripe_connections
# Write the byte code now, because the container's file system may be read-only.
RUN /opt/venv/bin/python -m compileall -q -j 0 /opt/venv/lib /opt/service

FROM ${PYTHON}
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
COPY --from=build /opt/venv /opt/venv
COPY --from=build /opt/service /opt/service
WORKDIR /opt/service
# A number, because Kubernetes cannot check that a name is not root.
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --start-interval=1s --retries=3 \
  CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/healthz', timeout=2)"]
# `serve` replaces itself with the server, so that the server receives the signals.
CMD ["python", "manage.py", "serve", "--host", "0.0.0.0", "--port", "8000"]
