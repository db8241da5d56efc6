"""Statements whose SQL Django builds once, for the calls that must be fast.

Building the SQL of a query takes Django several times as long as sending it and reading the
answer. So the text is built once for each database and kept. Fields prepare the values that they
would change, and the statements pass through Django's cursors, where tests and logs see them.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache
from types import NoneType
from typing import Any, NamedTuple, TypeVar

import orjson
from django.db import DEFAULT_DB_ALIAS, connections, models, transaction
from django.db.models.base import ModelState
from psycopg.pq import Format

ModelT = TypeVar("ModelT", bound=models.Model)
Names = tuple[str, ...]

# What these fields do not change of these values on their way to either database: to ask them
# would take half as long as the statement.
PLAIN_FIELDS = {
    models.CharField,
    models.ForeignKey,
    models.PositiveBigIntegerField,
    models.PositiveSmallIntegerField,
    models.TextField,
}
PLAIN_VALUES = {str, int, NoneType}
# The attribute of a connection to PostgreSQL with the cursor of these statements.
CURSOR = "_prepared_cursor"


class NewRow(NamedTuple):
    """A row to insert; a column that is not among the values gets the database's default."""

    model: type[models.Model]
    values: Mapping[str, Any]


class PreparedSelect:
    """A `values_list` whose parameters change from call to call.

    `build` is called once for each database, with a stand-in for every parameter: a value of the
    right type and range that stands nowhere else in the query.
    """

    def __init__(self, build: Callable[..., models.QuerySet[Any, Any]], **stand_ins: Any) -> None:
        self._build = build
        self._stand_ins = stand_ins
        self._compiled: dict[str, _Compiled] = {}

    def first(self, **parameters: Any) -> list[Any] | None:
        """The first row, or None."""
        database = connections[DEFAULT_DB_ALIAS]
        compiled = self._compiled.get(database.vendor)
        if compiled is None:
            compiled = _Compiled(self._build(**self._stand_ins), self._stand_ins)
            self._compiled[database.vendor] = compiled
        with _cursor(database) as cursor:
            cursor.execute(compiled.sql, [parameters[name] for name in compiled.parameters])
            row = cursor.fetchone()
        return compiled.converted(row, database) if row else None


class _Compiled:
    """The text of a query, and how the values of a row become Python's."""

    def __init__(self, queryset: models.QuerySet[Any, Any], stand_ins: Mapping[str, Any]) -> None:
        compiler: Any = queryset.query.get_compiler(DEFAULT_DB_ALIAS)
        names = {value: name for name, value in stand_ins.items()}
        self.sql, parameters = compiler.as_sql()
        self.parameters = [names[parameter] for parameter in parameters]
        self.converters = [
            (position, expression, convert)
            for position, (converters, expression) in compiler.get_converters(
                [column[0] for column in compiler.select]
            ).items()
            for convert in converters
        ]

    def converted(self, row: Sequence[Any], database: Any) -> list[Any]:
        values = list(row)
        for position, expression, convert in self.converters:
            values[position] = convert(values[position], expression, database)
        return values


def instance(
    model: type[ModelT], names: Sequence[str], values: Sequence[Any], **related: models.Model
) -> ModelT:
    """The object of a row: `names` are attribute names; other fields are deferred.

    As `Model.from_db`, which asks every field of the model, and every signal.
    """
    loaded = model.__new__(model)
    loaded.__dict__.update(zip(names, values, strict=True))
    state = vars(loaded)["_state"] = ModelState()
    state.adding, state.db = False, DEFAULT_DB_ALIAS
    state.fields_cache = related
    return loaded


def insert(row: NewRow) -> None:
    """Insert `row`."""
    _insert(connections[DEFAULT_DB_ALIAS], row)


def update_and_insert(
    changed: models.Model,
    names: Sequence[str],
    expected: Mapping[str, Any],
    row: NewRow,
    *,
    timeout: str,
) -> bool:
    """Write the fields called `names` of `changed`, and insert `row`: both, or neither.

    False where what is stored does not have the `expected` values any more, by field name.
    PostgreSQL waits for `timeout` at most, such as "5s", where somebody else holds the row; there
    it is one statement, so that neither BEGIN nor COMMIT takes a journey of its own.
    """
    database = connections[DEFAULT_DB_ALIAS]
    model, names, conditions = type(changed), tuple(names), ("pk", *expected)
    values = [getattr(changed, field.attname) for field, _ in _fields(model, names)]
    written = _prepared(database, model, names, values)
    written += _prepared(database, model, conditions, (changed.pk, *expected.values()))
    if database.vendor == "postgresql":
        new = tuple(row.values)
        inserted = _prepared(database, row.model, new, row.values.values())
        sql = _update_and_insert_sql(model, names, conditions, row.model, new)
        return _execute(database, sql, [*written, timeout, *inserted]) > 0
    with transaction.atomic():
        is_written = _execute(database, _update_sql(model, names, conditions), written) > 0
        if is_written:
            _insert(database, row)
    return is_written


def _insert(database: Any, row: NewRow) -> None:
    names = tuple(row.values)
    values = _prepared(database, row.model, names, row.values.values())
    _execute(database, _insert_sql(row.model, names), values)


def _execute(database: Any, sql: str, values: Sequence[Any]) -> int:
    """The number of rows written."""
    with _cursor(database) as cursor:
        cursor.execute(sql, values)
        return int(cursor.rowcount)


@contextmanager
def _cursor(database: Any) -> Iterator[Any]:
    """One that is made once for each connection to PostgreSQL, which saves 20 µs a statement.

    Its results are in binary, because Django reads the text of a moment in Python.
    """
    if database.vendor != "postgresql":
        with database.cursor() as cursor:
            yield cursor
        return
    database.ensure_connection()
    attributes = vars(database.connection)
    made = attributes.pop(CURSOR, None)
    if made is None:
        made = database.create_cursor()
        made.format = Format.BINARY
    # As Django's own, but that it is not closed.
    wrap = database.make_debug_cursor if database.queries_logged else database.make_cursor
    try:
        yield wrap(made)
    finally:
        attributes[CURSOR] = made


def _prepared(
    database: Any, model: type[models.Model], names: Names, values: Iterable[Any]
) -> list[Any]:
    """The `values` of the fields called `names`, as the database takes them."""
    return [
        value
        if is_plain and type(value) in PLAIN_VALUES
        else _prepared_by_field(database, field, value)
        for (field, is_plain), value in zip(_fields(model, names), values, strict=True)
    ]


def _prepared_by_field(database: Any, field: Any, value: Any) -> Any:
    if type(field) is models.JSONField and field.encoder is None:
        return orjson.dumps(value).decode()
    if type(value) is datetime and database.vendor == "postgresql":
        return value
    return field.get_db_prep_save(value, database)


@lru_cache(maxsize=512)
def _fields(model: type[models.Model], names: Names) -> list[tuple[Any, bool]]:
    """The fields called `names`, and whether each leaves PLAIN_VALUES as they are."""
    meta: Any = model._meta
    fields = [meta.pk if name == "pk" else meta.get_field(name) for name in names]
    return [(field, type(field) in PLAIN_FIELDS) for field in fields]


@lru_cache(maxsize=512)
def _update_and_insert_sql(
    model: type[models.Model],
    names: Names,
    conditions: Names,
    new_model: type[models.Model],
    new_names: Names,
) -> str:
    # The time-out is set for this statement's transaction, before it waits: a SET of its own
    # would be another journey, and lost behind PgBouncer in transaction mode.
    return (
        f"WITH updated AS ({_update_sql(model, names, conditions)}"  # noqa: S608 - names of models
        " AND set_config('lock_timeout', %s, true) IS NOT NULL RETURNING 1) "
        f"{_insert_into(new_model, new_names)} SELECT {_places(new_names)} FROM updated"
    )


@lru_cache(maxsize=512)
def _update_sql(model: type[models.Model], names: Names, conditions: Names) -> str:
    assignments = ", ".join(f"{column} = %s" for column in _columns(model, names))
    where = " AND ".join(f"{column} = %s" for column in _columns(model, conditions))
    return f'UPDATE "{model._meta.db_table}" SET {assignments} WHERE {where}'  # noqa: S608


@lru_cache(maxsize=16)
def _insert_sql(model: type[models.Model], names: Names) -> str:
    return f"{_insert_into(model, names)} VALUES ({_places(names)})"


def _insert_into(model: type[models.Model], names: Names) -> str:
    return f'INSERT INTO "{model._meta.db_table}" ({", ".join(_columns(model, names))})'


def _columns(model: type[models.Model], names: Names) -> list[str]:
    return [f'"{field.column}"' for field, _ in _fields(model, names)]


def _places(names: Names) -> str:
    return ", ".join(["%s"] * len(names))
