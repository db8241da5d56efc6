"""Searches connections by the beginning of a name, host or ID, with an index.

An index that is ordered byte by byte can find a prefix. The search is a range: for "sho" from
"sho" up to "sho" followed by the last character of Unicode.
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
    """Orders by bytes: the collation "C" of PostgreSQL, which is the default of SQLite."""

    template = '%(expressions)s COLLATE "C"'
    arity = 1
    output_field = CharField()

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        return self.as_sql(compiler, connection, template="%(expressions)s", **context)


BIZ_ID = Bytewise("biz_id")
ACCOUNT_ID = Bytewise("stripe_account_id")
NAME = Bytewise(Lower("connection_name"))
# An endpoint can be longer than the 2,704 bytes that fit into an entry of a PostgreSQL index. The
# numbers are in the template, because SQLite would not use the index with parameters.
ENDPOINT = Bytewise(Func(F("partner_endpoint"), template="LOWER(SUBSTR(%(expressions)s, 1, 300))"))


def search(queryset: QuerySet[Any], text: str) -> QuerySet[Any]:
    """The connections whose business id, name, account ID or endpoint host begins with `text`.

    Names and hosts match in upper or lower case. The business id of a workspace or tenant finds
    its connections.
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
        # A list, because PostgreSQL would use none of the indexes with a subquery.
        found |= Q(workspace__in=list(workspaces[:MAX_WORKSPACES]))
    return queryset.filter(found)


def _lower(text: str) -> tuple[Lower, Lower]:
    """Both ends of the range, in lower case as the database and not Python defines it."""
    return Lower(Value(text)), Lower(Value(text + LAST_CHARACTER))


def _begins_with(expression: Any, start: Any, end: Any) -> Q:
    return Q(GreaterThanOrEqual(expression, start)) & Q(LessThan(expression, end))
