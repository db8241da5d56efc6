"""Conditions of check constraints, the same on PostgreSQL and SQLite."""

from django.db.models import F, Q, Value
from django.db.models.functions import Left, Length, Lower
from django.db.models.lookups import Exact, GreaterThanOrEqual, LessThanOrEqual


def length_between(column: str, shortest: int, longest: int) -> Q:
    """`column` is null or its length is in the range (SQLite does not enforce varchar(n))."""
    return Q(GreaterThanOrEqual(Length(F(column)), shortest)) & Q(
        LessThanOrEqual(Length(F(column)), longest)
    )


def starts_with(column: str, prefix: str) -> Q:
    """`column` is null or begins with `prefix`; SQLite's LIKE would ignore case."""
    return Q(Exact(Left(F(column), len(prefix)), Value(prefix)))


def starts_with_in_any_case(column: str, prefix: str) -> Q:
    """`column` is null or begins with `prefix`, which is in lower case, in any case."""
    return Q(Exact(Lower(Left(F(column), len(prefix))), Value(prefix)))
