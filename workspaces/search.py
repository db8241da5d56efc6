"""Finds workspaces by the beginning of what people call them, with an index.

An index that is ordered byte by byte can find a prefix. The search is a range: for "sho" from
"sho" up to "sho" followed by the last character of Unicode.
"""

from typing import Any

from django.db.models import CharField, Func, Q, Value
from django.db.models.functions import Lower
from django.db.models.lookups import GreaterThanOrEqual, LessThan

LAST_CHARACTER = "\U0010ffff"
MAX_WORKSPACES = 1_000


class Bytewise(Func):
    """Orders by bytes: the collation "C" of PostgreSQL, which is the default of SQLite."""

    template = '%(expressions)s COLLATE "C"'
    arity = 1
    output_field = CharField()

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        return self.as_sql(compiler, connection, template="%(expressions)s", **context)


def folded(name: str) -> Bytewise:
    """A column in lower case, as an index and a search spell it."""
    return Bytewise(Lower(name))


def begins_with(expression: Bytewise, text: str) -> Q:
    """The rows in which a lower-case `expression` begins with `text`, in upper or lower case.

    The database converts both, because it knows other letters than Python.
    """
    start, end = Lower(Value(text)), Lower(Value(text + LAST_CHARACTER))
    return Q(GreaterThanOrEqual(expression, start)) & Q(LessThan(expression, end))


def has_id(prefix: str, name: str, text: str) -> Q:
    """The rows whose ID `name` begins with `text`, which may lack the `prefix` of the IDs."""
    return begins_with(folded(name), prefix + text.lower().removeprefix(prefix))


def find_workspaces(text: str) -> list[int]:
    """The primary keys of workspaces whose name, tenant or member begins with `text`.

    At most MAX_WORKSPACES, in one query. A member is found by user name or email address.
    """
    # Imported here, because the models declare the indexes of this module.
    from workspaces.models import Membership, Workspace

    workspaces = Workspace.objects.filter(
        begins_with(folded("name"), text) | has_id("ws_", "biz_id", text)
    )
    of_tenants = Workspace.objects.filter(
        begins_with(folded("tenant__name"), text) | has_id("tn_", "tenant__biz_id", text)
    )
    of_members = Membership.objects.filter(
        begins_with(folded("user__username"), text) | begins_with(folded("user__email"), text)
    )
    found = workspaces.values_list("pk").union(
        of_tenants.values_list("pk"), of_members.values_list("workspace_id")
    )
    return [pk for (pk,) in found[:MAX_WORKSPACES]]
