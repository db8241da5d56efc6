"""Find connections by the beginning of what somebody says on the phone, with an index.

An index can find a beginning where it is ordered byte by byte, so each search is a range:
from "sho" to below "sho" and the last character that there is.
"""

from typing import Any

from django.db.models import CharField, F, Func, Q, QuerySet, Value
from django.db.models.functions import Lower
from django.db.models.lookups import GreaterThanOrEqual, LessThan

from workspaces.models import Workspace

LAST_CHARACTER = "\U0010ffff"
SCHEME = "https://"
MAX_WORKSPACES = 1_000


class Bytewise(Func):
    """In the order of the bytes: PostgreSQL's collation "C", and what SQLite does anyway."""

    template = '%(expressions)s COLLATE "C"'
    arity = 1
    output_field = CharField()

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        return self.as_sql(compiler, connection, template="%(expressions)s", **context)


BIZ_ID = Bytewise("biz_id")
ACCOUNT_ID = Bytewise("stripe_account_id")
NAME = Bytewise(Lower("connection_name"))
# An entry of a PostgreSQL index holds at most 2,704 bytes, and an endpoint may have more. The
# numbers stand in the template because SQLite takes no parameter for the same as a number.
ENDPOINT = Bytewise(Func(F("partner_endpoint"), template="LOWER(SUBSTR(%(expressions)s, 1, 300))"))


def search(queryset: QuerySet[Any], text: str) -> QuerySet[Any]:
    """The connections whose business id, name, account or endpoint host begins with `text`.

    Upper and lower case are the same in names and hosts. A business id of a workspace or tenant
    finds the connections in it.
    """
    found = (
        _begins_with(BIZ_ID, Value(text), Value(text + LAST_CHARACTER))
        | _begins_with(ACCOUNT_ID, Value(text), Value(text + LAST_CHARACTER))
        | _begins_with(NAME, *_lower(text))
        | _begins_with(ENDPOINT, *_lower(SCHEME + text.removeprefix(SCHEME)))
    )
    if text.startswith(("ws_", "tn_")):
        workspaces = Workspace.objects.filter(
            Q(biz_id__startswith=text) | Q(tenant__biz_id__startswith=text)
        ).values_list("pk", flat=True)
        # As numbers, because beside a subquery PostgreSQL uses none of the indexes.
        found |= Q(workspace__in=list(workspaces[:MAX_WORKSPACES]))
    return queryset.filter(found)


def _lower(text: str) -> tuple[Lower, Lower]:
    """Both ends of the range, folded by the database, which knows other letters than Python."""
    return Lower(Value(text)), Lower(Value(text + LAST_CHARACTER))


def _begins_with(expression: Any, start: Any, end: Any) -> Q:
    return Q(GreaterThanOrEqual(expression, start)) & Q(LessThan(expression, end))
