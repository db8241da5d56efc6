"""The floor: only the necessary work of the update call. For comparison; never deploy it.

Raw WSGI and one SQL statement, which verifies the caller, locks the row, updates the given
columns and inserts the audit record. There is no validation, and every error is the same.
"""

import hashlib
import hmac
import os
import threading
import time
from collections.abc import Iterable
from functools import lru_cache
from wsgiref.types import StartResponse, WSGIEnvironment

import jwt
import orjson
import psycopg
from cryptography.fernet import Fernet

COLUMNS = {
    "connectionName": "connection_name",
    "connectionDescription": "connection_description",
    "stripeAccountId": "stripe_account_id",
    "apiKey": "api_key",
    "webhookSecret": "webhook_secret",
    "partnerEndpoint": "partner_endpoint",
    "configJson": "config_json",
}
SECRETS = ("api_key", "webhook_secret")

STATEMENT = """
WITH caller AS (
    SELECT u.id, u.username, w.id AS workspace_id, t.biz_id AS tenant
    FROM auth_user u
    JOIN workspaces_membership m ON m.user_id = u.id AND m.role = 'manager'
    JOIN workspaces_workspace w ON w.id = m.workspace_id AND w.is_active
    JOIN workspaces_tenant t ON t.id = w.tenant_id
    WHERE u.id = %(user)s AND u.is_active AND w.biz_id = %(workspace)s
        AND upper(md5(u.password)) = %(password)s
), old AS (
    SELECT c.* FROM stripe_connections_stripeconnection c JOIN caller USING (workspace_id)
    WHERE c.biz_id = %(biz_id)s FOR UPDATE OF c
), new AS (
    UPDATE stripe_connections_stripeconnection c
    SET version = c.version + 1, updated_at = now(), {assignments}
    FROM old WHERE c.id = old.id RETURNING c.*
), audit AS (
    INSERT INTO auditlog_logentry (content_type_id, object_pk, object_id, object_repr, action,
        changes_text, changes, actor_id, cid, timestamp, additional_data)
    SELECT (SELECT id FROM django_content_type
            WHERE app_label = 'stripe_connections' AND model = 'stripeconnection'), new.id::text,
        new.id, new.biz_id, 1, '', jsonb_build_object({changes}), caller.id,
        %(request_id)s, now(), jsonb_build_object('source', 'api', 'username', caller.username,
        'version', new.version)
    FROM caller, old, new
)
SELECT new.biz_id, tenant, new.connection_name, new.connection_description,
    new.stripe_account_id, new.partner_endpoint, new.config_json, new.status, new.created_at,
    new.updated_at, new.version FROM caller, new
"""

fernet = Fernet(os.environ["FERNET_KEYS"].split(",")[0])
signing_key = os.environ["JWT_SIGNING_KEY"]
portal_code = os.environ["PORTAL_ACCESS_CODE"]
local = threading.local()


def database() -> psycopg.Connection:
    """Return this thread's database connection."""
    if not hasattr(local, "connection"):
        local.connection = psycopg.connect(
            os.environ["DATABASE_URL"], autocommit=True, options="-c timezone=UTC"
        )
    connection: psycopg.Connection = local.connection
    return connection


@lru_cache(maxsize=256)
def statement(columns: tuple[str, ...]) -> bytes:
    """Return the SQL that updates these columns."""
    assignments, changes = [], []
    for name in columns:
        assignments.append(f"{name} = %({name})s")
        if name in SECRETS:
            assignments.append(f"{name}_hint = %({name}_hint)s")
            assignments.append(f"{name}_fingerprint = %({name}_fingerprint)s")
            assignments.append(f"{name}_replaced_at = now()")
            pair = f"old.{name}_hint, 'replaced ' || new.{name}_hint"
        else:
            pair = f"old.{name}, new.{name}"
        changes.append(f"'{name}', jsonb_build_array({pair})")
    return STATEMENT.format(assignments=", ".join(assignments), changes=", ".join(changes)).encode()


def parameters(environ: WSGIEnvironment, body: dict[str, str]) -> dict[str, object]:
    """Return the parameters of the statement; raise if the token or a name is wrong."""
    if not hmac.compare_digest(environ["HTTP_X_PORTAL_ACCESS_CODE"], portal_code):
        raise PermissionError
    claims = jwt.decode(environ["HTTP_AUTHORIZATION"][7:], signing_key, algorithms=["HS256"])
    values: dict[str, object] = {
        "user": int(claims["user_id"]),
        "password": claims["hash_password"],
        "workspace": environ["PATH_INFO"].split("/")[4],
        "biz_id": body.pop("connectionBizId"),
        "request_id": environ["HTTP_X_REQUEST_ID"],
    }
    for key, value in body.items():
        name = COLUMNS[key]
        values[name] = value
        if name in SECRETS:
            values[name] = fernet.encrypt(value.encode())
            values[f"{name}_hint"] = f"{value[: value.rindex('_') + 1]}…{value[-4:]}"
            values[f"{name}_fingerprint"] = hmac.new(
                signing_key.encode(), value.encode(), hashlib.sha256
            ).hexdigest()
    return values


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    body = orjson.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
    values = parameters(environ, body)
    sql = statement(tuple(COLUMNS[name] for name in body))
    row = database().execute(sql, values, prepare=True).fetchone()
    if row is None:
        raise PermissionError
    content = orjson.dumps(
        {
            "version": "1.3.0",
            "timestamp": time.time_ns() // 1_000_000,
            "success": True,
            "code": "2000",
            "message": "SUCCESS",
            "data": {
                "bizId": row[0],
                "tenantBizId": row[1],
                "connectionName": row[2],
                "connectionDescription": row[3],
                "stripeAccountId": row[4],
                "partnerEndpoint": row[5],
                "configJson": row[6],
                "status": row[7],
                "statusName": "ACTIVE" if row[7] else "INACTIVE",
                "createdAt": f"{row[8]:%Y-%m-%dT%H:%M:%SZ}",
                "updatedAt": f"{row[9]:%Y-%m-%dT%H:%M:%SZ}",
            },
        }
    )
    headers = [
        ("Content-Type", "application/json"),
        ("Content-Length", str(len(content))),
        ("Cache-Control", "no-store"),
        ("X-Request-Id", environ["HTTP_X_REQUEST_ID"]),
        ("ETag", f'"{row[10]}"'),
    ]
    start_response("200 OK", headers)
    return [content]
