"""Statements whose SQL Django builds once, for the calls that must be fast.

Building the SQL of a query takes Django several times as long as sending it and reading the
answer. So the text is built once for each database and kept; fields prepare the values as they
always do, and the statements pass through Django's cursors, where tests and logs see them.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any, Generic, TypeVar

from django.db import connection, models
from django.db.models import query

ModelT = TypeVar("ModelT", bound=models.Model)


class PreparedSelect(Generic[ModelT]):
    """A queryset whose parameters change from call to call.

    `build` is called once for each database, with a stand-in for every parameter: a value of the
    right type and range that stands nowhere else in the query. Deferred columns and
    `select_related` are as in the queryset.
    """

    def __init__(self, build: Callable[..., models.QuerySet[ModelT]], **stand_ins: Any) -> None:
        self._build = build
        self._stand_ins = stand_ins
        self._compiled: dict[str, _Compiled[ModelT]] = {}

    def first(self, **parameters: Any) -> ModelT | None:
        """The first row's object, or None."""
        vendor = connection.vendor
        compiled = self._compiled.get(vendor)
        if compiled is None:
            queryset = self._build(**self._stand_ins)
            compiled = self._compiled[vendor] = _Compiled(queryset, self._stand_ins)
        with connection.cursor() as cursor:
            cursor.execute(compiled.sql, [parameters[name] for name in compiled.parameters])
            row = cursor.fetchone()
        return compiled.instance(row) if row else None


class _Compiled(Generic[ModelT]):
    """The text of a query, and how a row of its result becomes an object.

    This is what `django.db.models.query.ModelIterable` does anew for every execution.
    """

    def __init__(self, queryset: models.QuerySet[ModelT], stand_ins: dict[str, Any]) -> None:
        compiler: Any = queryset.query.get_compiler(connection=connection)
        names = {value: name for name, value in stand_ins.items()}
        self.sql, parameters = compiler.as_sql()
        self.parameters = [names[parameter] for parameter in parameters]
        self.model = queryset.model
        info = compiler.klass_info
        self.columns = slice(info["select_fields"][0], info["select_fields"][-1] + 1)
        selected = [column[0] for column in compiler.select]
        self.attributes = [column.target.attname for column in selected[self.columns]]
        self.converters = compiler.get_converters(selected)
        # django-stubs describes the next version of this function.
        populators: Any = query.get_related_populators
        self.related = populators(info, compiler.select, connection.alias)

    def instance(self, row: Sequence[Any]) -> ModelT:
        values = list(row)
        for position, (converters, expression) in self.converters.items():
            for convert in converters:
                values[position] = convert(values[position], expression, connection)
        instance = self.model.from_db(connection.alias, self.attributes, values[self.columns])
        for populator in self.related:
            populator.populate(values, instance)
        return instance


def insert(instance: models.Model) -> None:
    """Insert a row for `instance`, which does not learn its primary key."""
    fields = instance._meta.local_concrete_fields
    columns = tuple(field for field in fields if not field.primary_key)
    _execute(_insert_sql(instance._meta.db_table, columns), instance, columns)


def update(instance: models.Model, names: Iterable[str]) -> None:
    """Write the fields called `names` of `instance`, and no other column."""
    columns = tuple(instance._meta.get_field(name) for name in names)
    primary_key = instance._meta.pk
    sql = _update_sql(instance._meta.db_table, primary_key, columns)
    _execute(sql, instance, (*columns, primary_key))


def _execute(sql: str, instance: models.Model, fields: Iterable[Any]) -> None:
    values = [
        field.get_db_prep_save(getattr(instance, field.attname), connection) for field in fields
    ]
    with connection.cursor() as cursor:
        cursor.execute(sql, values)


@lru_cache(maxsize=8)
def _insert_sql(table: str, columns: tuple[Any, ...]) -> str:
    names = ", ".join(f'"{field.column}"' for field in columns)
    places = ", ".join(["%s"] * len(columns))
    return f'INSERT INTO "{table}" ({names}) VALUES ({places})'  # noqa: S608 - names of our models


@lru_cache(maxsize=512)
def _update_sql(table: str, primary_key: Any, columns: tuple[Any, ...]) -> str:
    places = ", ".join(f'"{field.column}" = %s' for field in columns)
    return f'UPDATE "{table}" SET {places} WHERE "{primary_key.column}" = %s'  # noqa: S608
