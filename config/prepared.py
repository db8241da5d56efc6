"""Statements whose SQL Django builds once, for the calls that must be fast.

Building the SQL of a query takes Django several times as long as sending it and reading the
answer. So the text is built once for each database and kept. Fields prepare the values that they
would change, and the statements pass through Django's cursors, where tests and logs see them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from types import NoneType
from typing import Any, NamedTuple, TypeVar

import orjson
from django.db import DEFAULT_DB_ALIAS, connections, models, transaction
from django.db.models.base import ModelState

ModelT = TypeVar("ModelT", bound=models.Model)

Columns = tuple[Any, ...]
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


class NewRow(NamedTuple):
    """A row to insert; a column that is not among the values gets the database's default."""

    model: type[models.Model]
    values: Mapping[str, Any]

    @property
    def columns(self) -> Columns:
        return _columns(self.model, tuple(self.values))


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
        with database.cursor() as cursor:
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
    columns = row.columns
    _execute(_insert_sql(columns), _prepared(columns, row.values.values()))


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
    columns = _columns(type(changed), tuple(names))
    key = _columns(type(changed), ("pk", *expected))
    new = row.columns
    assigned = _prepared(columns, (getattr(changed, column.attname) for column in columns))
    where = _prepared(key, (changed.pk, *expected.values()))
    inserted = _prepared(new, row.values.values())
    if connections[DEFAULT_DB_ALIAS].vendor == "postgresql":
        sql = _update_and_insert_sql(columns, key, new)
        return _execute(sql, [*assigned, *where, timeout, *inserted]) > 0
    with transaction.atomic():
        is_written = _execute(_update_sql(columns, key), [*assigned, *where]) > 0
        if is_written:
            _execute(_insert_sql(new), inserted)
    return is_written


def _execute(sql: str, values: Sequence[Any]) -> int:
    """The number of rows written."""
    with connections[DEFAULT_DB_ALIAS].cursor() as cursor:
        cursor.execute(sql, values)
        return int(cursor.rowcount)


def _prepared(columns: Columns, values: Iterable[Any]) -> list[Any]:
    return [
        value
        if type(value) in PLAIN_VALUES and type(column) in PLAIN_FIELDS
        else _prepared_by_field(column, value)
        for column, value in zip(columns, values, strict=True)
    ]


def _prepared_by_field(column: Any, value: Any) -> Any:
    if type(column) is models.JSONField and column.encoder is None:
        return orjson.dumps(value).decode()
    database = connections[DEFAULT_DB_ALIAS]
    if type(value) is datetime and database.vendor == "postgresql":
        return value
    return column.get_db_prep_save(value, database)


@lru_cache(maxsize=512)
def _columns(model: type[models.Model], names: tuple[str, ...]) -> Columns:
    meta = model._meta
    return tuple(meta.pk if name == "pk" else meta.get_field(name) for name in names)


def _places(columns: Columns) -> str:
    return ", ".join(["%s"] * len(columns))


@lru_cache(maxsize=512)
def _update_and_insert_sql(columns: Columns, key: Columns, new: Columns) -> str:
    # The time-out is set for this statement's transaction, before it waits: a SET of its own
    # would be another journey, and lost behind PgBouncer in transaction mode.
    return (
        f"WITH updated AS ({_update_sql(columns, key)}"  # noqa: S608 - names of our models
        " AND set_config('lock_timeout', %s, true) IS NOT NULL RETURNING 1) "
        f"{_insert_into(new)} SELECT {_places(new)} FROM updated"
    )


@lru_cache(maxsize=512)
def _update_sql(columns: Columns, key: Columns) -> str:
    assignments = ", ".join(f'"{column.column}" = %s' for column in columns)
    conditions = " AND ".join(f'"{column.column}" = %s' for column in key)
    table = key[0].model._meta.db_table
    return f'UPDATE "{table}" SET {assignments} WHERE {conditions}'  # noqa: S608


@lru_cache(maxsize=16)
def _insert_sql(columns: Columns) -> str:
    return f"{_insert_into(columns)} VALUES ({_places(columns)})"


def _insert_into(columns: Columns) -> str:
    names = ", ".join(f'"{column.column}"' for column in columns)
    return f'INSERT INTO "{columns[0].model._meta.db_table}" ({names})'
