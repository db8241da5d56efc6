"""The SQL of an update: one statement on PostgreSQL, three in a transaction on SQLite.

It is written by hand because of the round trips. The ORM takes five (BEGIN, lock, update, audit
record, COMMIT), each of them about 0.15 ms of a request that takes 0.9 ms of CPU in all.
"""

from collections.abc import Collection, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

import orjson
from auditlog.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import connection as database
from django.db import transaction
from django.utils import timezone
from psycopg.pq import Format

from stripe_connections.audit import records
from stripe_connections.audit.records import REPLACED, Actor
from stripe_connections.lock_backoff import Row
from stripe_connections.models import (
    READ_FIELDS,
    SECRET_FIELDS,
    UPDATABLE_FIELDS,
    StripeConnection,
)

MAX_VERSION = 2**63 - 1

# The version belongs into `old`: in `new`, a stale one would wait for a row that is locked. Once
# the lock is granted, PostgreSQL evaluates the condition again for the newest row. The time-out
# ends with the transaction; a SET before it would be another round trip, and would not pass
# through PgBouncer in transaction mode.
UPDATE_ON_POSTGRESQL = """
WITH old AS (
    SELECT id, version, {compared} FROM stripe_connections_stripeconnection
    WHERE workspace_id = %(workspace_id)s AND biz_id = %(biz_id)s
        AND (%(versions)s::bigint[] IS NULL OR version = ANY(%(versions)s::bigint[]))
        AND set_config('lock_timeout', %(timeout)s, true) IS NOT NULL
    FOR NO KEY UPDATE
), new AS (
    UPDATE stripe_connections_stripeconnection AS c
    SET {assignments}, version = old.version + 1, updated_at = clock_timestamp()
    FROM old WHERE c.id = old.id
    RETURNING {answer}
), record AS (
    INSERT INTO auditlog_logentry (content_type_id, object_pk, object_id, object_repr, action,
        changes, changes_text, actor_id, cid, timestamp, additional_data)
    SELECT %(content_type_id)s, new.id::text, new.id, new.biz_id, {action},
        jsonb_build_object({changes}) || %(more)s::jsonb, '', %(actor_id)s, %(request_id)s,
        new.updated_at, %(who)s::jsonb || jsonb_build_object('version', new.version)
    FROM old, new
)
SELECT * FROM new
"""
UPDATE_ON_SQLITE = """
UPDATE stripe_connections_stripeconnection
SET {assignments}, version = version + 1, updated_at = %(updated_at)s WHERE id = %(id)s
"""


class Update(NamedTuple):
    """What is to be written to a connection, and in its audit record.

    The record has the old and the new value of each updatable field of `columns`, hints in place
    of secrets, and what is in `more`. Without `versions`, any version is updated. PostgreSQL waits
    for a lock for `timeout` at most, such as "5s".
    """

    row: Row
    columns: Mapping[str, Any]
    actor: Actor
    versions: Collection[int] | None
    timeout: str
    more: Mapping[str, tuple[Any, Any]]

    @property
    def fields(self) -> tuple[str, ...]:
        """The updatable fields of `columns`."""
        return tuple(name for name in self.columns if name in UPDATABLE_FIELDS)


def execute(update: Update) -> StripeConnection | None:
    """Write the columns and append the audit record: both, or neither.

    The connection is returned as it is now; None if the workspace has none of this business id,
    or if it is at none of the versions. Raises an OperationalError if the lock takes too long.
    """
    if database.vendor != "postgresql":
        return _execute_on_sqlite(update)
    workspace_id, biz_id = update.row
    actor, versions = update.actor, update.versions
    parameters = {
        **update.columns,
        "workspace_id": workspace_id,
        "biz_id": biz_id,
        "versions": None if versions is None else [v for v in versions if v <= MAX_VERSION],
        "timeout": update.timeout,
        "content_type_id": ContentType.objects.get_for_model(StripeConnection).pk,
        "more": orjson.dumps(update.more).decode(),
        "actor_id": actor.user and actor.user.pk,
        "request_id": actor.request_id,
        "who": orjson.dumps(records.who(actor)).decode(),
    }
    with database.cursor() as cursor:
        # Django reads the text of a timestamp in Python, psycopg the binary form in C.
        cursor.cursor.format = Format.BINARY
        cursor.execute(_update_sql(tuple(update.columns), update.fields), parameters)
        found = cursor.fetchone()
    if found is None:
        return None
    connection: StripeConnection = StripeConnection.from_db(database.alias, READ_FIELDS, found)
    return connection


def transaction_unless_single(*, single: bool) -> AbstractContextManager[None]:
    """A transaction, or a savepoint in one; nothing for a `single` statement that needs neither.

    PostgreSQL executes a statement in a transaction of its own. In an outer one, a refused
    statement would abort all that was done before.
    """
    is_alone = database.vendor == "postgresql" and not database.in_atomic_block
    return nullcontext() if single and is_alone else transaction.atomic()


@lru_cache(maxsize=256)
def _update_sql(columns: tuple[str, ...], fields: tuple[str, ...]) -> str:
    changes = [
        f"'{name}', jsonb_build_array(old.{name}_hint, '{REPLACED} ' || new.{name}_hint)"
        if name in SECRET_FIELDS
        else f"'{name}', jsonb_build_array(old.{name}, new.{name})"
        for name in fields
    ]
    return UPDATE_ON_POSTGRESQL.format(
        compared=", ".join(f"{name}_hint" if name in SECRET_FIELDS else name for name in fields),
        assignments=_assignments(columns),
        answer=", ".join(f"c.{name}" for name in READ_FIELDS),
        action=LogEntry.Action.UPDATE,
        changes=", ".join(changes),
    )


def _assignments(columns: Iterable[str]) -> str:
    return ", ".join(f"{name} = %({name})s" for name in columns)


def _execute_on_sqlite(update: Update) -> StripeConnection | None:
    """As `execute`, in a transaction that has begun, and so has locked the database."""
    (workspace_id, biz_id), versions, columns = update.row, update.versions, update.columns
    stored = StripeConnection.objects.filter(workspace_id=workspace_id, biz_id=biz_id)
    connection: StripeConnection | None = stored.only(*READ_FIELDS).first()
    if connection is None or (versions is not None and connection.version not in versions):
        return None
    old = {name: connection.shown(name) for name in update.fields}
    connection.version += 1
    connection.updated_at = timezone.now()
    for name in columns.keys() & {*READ_FIELDS}:
        setattr(connection, name, columns[name])
    parameters = {**columns, "updated_at": connection.updated_at, "id": connection.pk}
    sql = UPDATE_ON_SQLITE.format(assignments=_assignments(columns))
    with database.cursor() as cursor:
        cursor.execute(sql, {name: _adapted(value) for name, value in parameters.items()})
    changes = {name: (old[name], records.new_value(connection, name)) for name in old}
    records.record_update(connection, {**changes, **update.more}, update.actor)
    return connection


def _adapted(value: Any) -> Any:
    if isinstance(value, datetime):
        return database.ops.adapt_datetimefield_value(value)
    return value
