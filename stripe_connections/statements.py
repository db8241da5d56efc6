"""The SQL of an update: one statement on PostgreSQL, three or four in a transaction on SQLite.

It is written by hand because of the round trips. The ORM takes five (BEGIN, lock, update, audit
record, COMMIT), each of them about 0.15 ms of a request that takes 0.9 ms of CPU in all.
"""

import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

import orjson
from auditlog.models import LogEntry
from django.conf import settings
from django.contrib.contenttypes.models import ContentType
from django.db import DEFAULT_DB_ALIAS, OperationalError
from django.db import connection as database
from django.db.models.base import ModelState
from django.utils import timezone
from psycopg.errors import LockNotAvailable
from psycopg.pq import Format

from stripe_connections.audit.records import RESTORED, Actor
from stripe_connections.models import (
    READ_FIELDS,
    SECRET_FIELDS,
    UPDATABLE_FIELDS,
    StripeConnection,
)
from stripe_connections.stripe_api.replies import VERIFICATION_FIELDS, Verification

# The key of the workspace, and the business ID.
Row = tuple[int, str]

MAX_VERSION = 2**63 - 1
# How long to remember that a row was locked, and how many rows.
MEMORY_SECONDS = 5
MAX_ROWS = 1_000
# The rows that this process could not lock, and until when it does not wait for them.
_unavailable_until: dict[Row, float] = {}
# The columns of the key and the account that Stripe's last reply is about.
SUBJECT = frozenset({"api_key_fingerprint", "stripe_account_id"})
# Whether the reply is kept. After it has waited for a lock, PostgreSQL checks the constraints once
# for the old version of the row, `c`, and would refuse the reply of one version with the account of
# another. Then it evaluates everything again for the new version.
IS_KEPT = "old.is_same AND c.version = old.version"

# At most 4,096 characters with all fields: psycopg would parse a longer statement again for every
# call, which takes 0.2 ms.
# The version belongs into `old`: in `new`, a stale one would wait for a row that is locked. Once
# the lock is granted, PostgreSQL evaluates the condition again for the newest row. The time-out
# ends with the transaction; a SET before it would be another round trip, and would not pass
# through PgBouncer in transaction mode.
UPDATE_ON_POSTGRESQL = """
WITH old AS (
    SELECT id, version, {shown}{secrets}{is_same} FROM stripe_connections_stripeconnection
    WHERE workspace_id = %(workspace_id)s AND biz_id = %(biz_id)s
        AND (%(versions)s::bigint[] IS NULL OR version = ANY(%(versions)s::bigint[]))
        AND set_config('lock_timeout', %(timeout)s, true) IS NOT NULL{not_leaked}
    FOR NO KEY UPDATE
), new AS (
    UPDATE stripe_connections_stripeconnection AS c
    SET {assignments}, version = old.version + 1, updated_at = clock_timestamp()
    FROM old WHERE c.id = old.id
    RETURNING {new_answer}
), record AS (
    INSERT INTO auditlog_logentry (content_type_id, object_pk, object_id, object_repr, action,
        changes, changes_text, actor_id, cid, timestamp, additional_data)
    SELECT %(content_type_id)s, new.id::text, new.id, new.biz_id, {action},
        jsonb_build_object({changes}) || %(more)s::jsonb, '', %(actor_id)s, %(request_id)s,
        new.updated_at, %(who)s::jsonb || jsonb_build_object('version', new.version)
    FROM old, new
){kept}
SELECT * FROM new
"""
SELECT_ON_SQLITE = """
SELECT id, version, {shown} FROM stripe_connections_stripeconnection
WHERE workspace_id = %(workspace_id)s AND biz_id = %(biz_id)s{not_leaked}
"""
UPDATE_ON_SQLITE = """
UPDATE stripe_connections_stripeconnection AS c
SET {assignments}, version = version + 1, updated_at = %(now)s
WHERE id = %(id)s RETURNING {answer}
"""
INSERT_ON_SQLITE = """
INSERT INTO auditlog_logentry (content_type_id, object_pk, object_id, object_repr, action,
    changes, changes_text, actor_id, cid, timestamp, additional_data)
VALUES (%(content_type_id)s, %(id)s, %(id)s, %(biz_id)s, {action},
    %(changes)s, '', %(actor_id)s, %(request_id)s, %(now)s, %(who)s)
"""
# Refuses secrets that were reported as leaked.
NOT_LEAKED = """
    AND NOT EXISTS (SELECT 1 FROM stripe_connections_leakedsecret WHERE digest IN ({digests}))
"""
# Keeps the secrets that are replaced by others.
KEEP_ON_SQLITE = """
WITH old AS (SELECT * FROM stripe_connections_stripeconnection WHERE id = %(id)s) {keep}
"""
KEEP = """
INSERT INTO stripe_connections_replacedsecret (connection_id, field, ciphertext, hint, fingerprint,
    version, is_restore, username, request_id, replaced_at, valid_until) {kept}
"""
KEPT = """
SELECT id, '{name}', {name}, {name}_hint, {name}_fingerprint, version + 1, %(is_restore)s,
    %(username)s, %(request_id)s, %(now)s, %({name}_valid_until)s
FROM old WHERE {name}_fingerprint <> CAST(%({name}_fingerprint)s AS varchar)
"""


class Update(NamedTuple):
    """What is written to a connection, and to its audit record.

    The record has the old and the new value of each updatable field of `columns`, hints instead of
    secrets, and `more`. Without `versions`, any version is updated. PostgreSQL waits for a lock for
    `timeout` at most, such as "5s". A new key or account resets VERIFICATION_FIELDS, unless
    `columns` has them.

    `kept` names the secrets whose old values are kept, and until when these still verify events.
    """

    row: Row
    columns: Mapping[str, Any]
    actor: Actor
    versions: Collection[int] | None
    timeout: str
    more: Mapping[str, tuple[Any, Any]]
    kept: Mapping[str, datetime]
    # The digest of each new secret, by the name of its parameter.
    digests: Mapping[str, str]
    # Stands before the hint of a new secret in the record: REPLACED or RESTORED.
    word: str


def execute(update: Update) -> StripeConnection | None:
    """Write the columns and append the audit record: both, or neither.

    Returns the connection as it is now; None if the workspace has none with this business id, its
    version is not one of `versions`, or a secret was reported as leaked. Raises an OperationalError
    if the lock takes too long. SQLite needs a transaction around it, which locks the database.
    """
    workspace_id, biz_id = update.row
    user = update.actor.user
    parameters = {
        **update.columns,
        "workspace_id": workspace_id,
        "biz_id": biz_id,
        "content_type_id": ContentType.objects.get_for_model(StripeConnection).pk,
        "actor_id": user and user.pk,
        "request_id": update.actor.request_id,
        "username": user and user.get_username(),
        **update.digests,
        "now": timezone.now(),
        "is_restore": update.word == RESTORED,
        **{f"{name}_valid_until": until for name, until in update.kept.items()},
    }
    who = {"source": update.actor.source, "username": parameters["username"]}
    with database.cursor() as cursor:
        on_database = _on_postgresql if cursor.db.vendor == "postgresql" else _on_sqlite
        row = on_database(cursor, update, parameters, who)
    if row is None:
        return None
    values = dict(zip(READ_FIELDS, row, strict=True))
    outcome = {n: v for n, v in update.columns.items() if n in VERIFICATION_FIELDS}
    return _loaded(values | outcome)


def _loaded(values: Mapping[str, Any]) -> StripeConnection:
    """The stored connection with these values; other columns are deferred.

    `StripeConnection.from_db` does the same, and takes 4 % of an update's time.
    """
    state = ModelState()
    state.adding, state.db = False, DEFAULT_DB_ALIAS
    connection = StripeConnection.__new__(StripeConnection)
    vars(connection).update(values, _state=state)
    return connection


def _on_postgresql(
    cursor: Any, update: Update, parameters: dict[str, Any], who: dict[str, Any]
) -> Any:
    """The values of READ_FIELDS, or None."""
    parameters |= {
        "versions": None if update.versions is None else _array(update.versions),
        "timeout": update.timeout,
        "more": _json(update.more),
        "who": _json(who),
    }
    # Django reads the text of a timestamp in Python, psycopg the binary form in C.
    cursor.cursor.format = Format.BINARY
    cursor.execute(
        _sql(UPDATE_ON_POSTGRESQL, tuple(update.columns), tuple(update.kept), update.word),
        parameters,
    )
    return cursor.fetchone()


def _array(versions: Collection[int]) -> str:
    """The versions as text of PostgreSQL, which psycopg sends ten times faster than a list."""
    return "{" + ",".join(str(version) for version in versions if version <= MAX_VERSION) + "}"


def _on_sqlite(cursor: Any, update: Update, parameters: dict[str, Any], who: dict[str, Any]) -> Any:
    """As `_on_postgresql`; nothing reads or writes the row between these statements."""
    key = names, *_ = tuple(update.columns), tuple(update.kept), update.word
    found = cursor.execute(_sql(SELECT_ON_SQLITE, *key), parameters).fetchone()
    if found is None or (update.versions is not None and found[1] not in update.versions):
        return None
    pk, version, *old = found
    shown = [update.columns[name] for name in _shown(names)]
    new = [
        f"{update.word} {value}" if name in SECRET_FIELDS else value
        for name, value in zip(_fields(names), shown, strict=True)
    ]
    changes = dict(zip(_fields(names), zip(old, new, strict=True), strict=True))
    parameters |= {
        "id": pk,
        "changes": _json({**changes, **update.more}),
        "who": _json(who | {"version": version + 1}),
    }
    parameters = {name: _for_sqlite(value) for name, value in parameters.items()}
    if update.kept:
        cursor.execute(_sql(KEEP_ON_SQLITE, *key), parameters)
    row = cursor.execute(_sql(UPDATE_ON_SQLITE, *key), parameters).fetchone()
    cursor.execute(_sql(INSERT_ON_SQLITE, *key), parameters)
    *others, created_at, updated_at = row
    return (*others, created_at.replace(tzinfo=UTC), updated_at.replace(tzinfo=UTC))


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()


def _for_sqlite(value: Any) -> Any:
    # As Django stores it.
    return str(value.astimezone(UTC).replace(tzinfo=None)) if isinstance(value, datetime) else value


@lru_cache(maxsize=256)
def _sql(template: str, columns: tuple[str, ...], kept: tuple[str, ...], word: str) -> str:
    changes = [
        f"'{name}', jsonb_build_array(old.{shown}, '{word} ' || new.{shown})"
        if name in SECRET_FIELDS
        else f"'{name}', jsonb_build_array(old.{shown}, new.{shown})"
        for name, shown in zip(_fields(columns), _shown(columns), strict=True)
    ]
    is_same = _is_same(columns)
    assignments = [f"{name} = %({name})s" for name in columns]
    if is_same:
        assignments += _reset(IS_KEPT if template is UPDATE_ON_POSTGRESQL else is_same)
    keep = KEEP.format(kept="UNION ALL".join(KEPT.format(name=name) for name in kept))
    digests = ", ".join(f"%({name}_digest)s" for name in columns if name in SECRET_FIELDS)
    sql = template.format(
        not_leaked=NOT_LEAKED.format(digests=digests) if digests else "",
        keep=keep,
        kept=f", kept AS ({keep})" if kept else "",
        secrets="".join(f", {name}, {name}_fingerprint" for name in kept),
        shown=", ".join(_shown(columns)),
        is_same=f", {is_same} AS is_same" if is_same else "",
        assignments=", ".join(assignments),
        answer=", ".join(READ_FIELDS),
        new_answer=", ".join(f"c.{name}" for name in READ_FIELDS),
        action=LogEntry.Action.UPDATE,
        changes=", ".join(changes),
    )
    return " ".join(sql.split())


def _is_same(columns: Collection[str]) -> str:
    """Whether a new key or account is the stored one; empty if `columns` have neither, or a reply.

    PostgreSQL needs the cast, because the same parameter is assigned to a column of this type.
    """
    subject = () if "verification" in columns else sorted(SUBJECT.intersection(columns))
    return " AND ".join(
        f"{name} IS NOT DISTINCT FROM CAST(%({name})s AS varchar)" for name in subject
    )


def _reset(is_kept: str) -> list[str]:
    """Forget the reply unless `is_kept`."""
    other = {"verification": f" ELSE '{Verification.UNVERIFIED}'"}
    return [
        f"{name} = CASE WHEN {is_kept} THEN c.{name}{other.get(name, '')} END"
        for name in VERIFICATION_FIELDS
    ]


def _fields(columns: Iterable[str]) -> list[str]:
    """The updatable fields among the columns, which the record names."""
    return [name for name in columns if name in UPDATABLE_FIELDS]


def _shown(columns: Iterable[str]) -> list[str]:
    """The columns of these fields that may be shown: of a secret its hint."""
    return [f"{name}_hint" if name in SECRET_FIELDS else name for name in _fields(columns)]


@contextmanager
def backoff(row: Row) -> Iterator[None]:
    """Around a statement that locks `row`: if the lock was not available, remember it.

    Later callers then do not wait. Each of them would occupy one of the server's few threads, so
    that a forgotten transaction and a few callers that retry could occupy all of them.
    """
    try:
        yield
    except OperationalError as error:
        if isinstance(error.__cause__, LockNotAvailable):
            if len(_unavailable_until) >= MAX_ROWS:
                _unavailable_until.clear()
            _unavailable_until[row] = time.monotonic() + MEMORY_SECONDS
        raise
    _unavailable_until.pop(row, None)


def lock_timeout(row: Row | None = None) -> str:
    """How long a writer waits for a locked row.

    For a row that was locked shortly before, it is the shortest time that PostgreSQL allows.
    """
    is_held = row is not None and _unavailable_until.get(row, 0) > time.monotonic()
    seconds = 0.001 if is_held else settings.LOCK_TIMEOUT_SECONDS
    return f"{seconds * 1000:.0f}ms"
