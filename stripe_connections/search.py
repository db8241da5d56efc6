"""Searches connections by what a customer says about them, with indexes."""

import re
from typing import Any

from django.db.models import F, Func, Q, QuerySet, Value
from django.db.models.functions import Lower
from django.db.models.lookups import Exact

from workspaces.search import Bytewise, begins_with, find_workspaces, folded, has_id

SCHEME = "https://"
# The last four characters of a key, alone or as a list shows them: "sk_live_…4242". Somebody who
# has no "…" on the keyboard types "...".
HINT = re.compile(r"(?:(?P<prefix>[a-z_]*)[….•*]+)?(?P<tail>[A-Za-z0-9]{4})")


class ReversedHost(Func):
    """The host of an address from its end: "moc.elpmaxe.skooh".

    The text before the first slash, colon or question mark. SQLite has no index on it: only Django
    defines REVERSE there, so that any other program could neither write the table nor restore it.
    """

    _rest = "REPLACE(REPLACE(SUBSTR(%(expressions)s, 9, 255), ':', '/'), '?', '/') || '/'"
    template = f"REVERSE(LOWER(SUBSTR({_rest}, 1, STRPOS({_rest}, '/') - 1)))"

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        template = self.template.replace("STRPOS", "INSTR")
        return self.as_sql(compiler, connection, template=template, **context)


# An endpoint can be longer than the 2,704 bytes that fit into an entry of a PostgreSQL index. The
# numbers are in the template, because SQLite would not use the index with parameters.
ENDPOINT = Bytewise(Func(F("partner_endpoint"), template="LOWER(SUBSTR(%(expressions)s, 1, 300))"))
DOMAIN = Bytewise(ReversedHost("partner_endpoint"))
KEY_TAIL = Bytewise(
    Func(
        F("api_key_hint"),
        template="LOWER(SUBSTR(%(expressions)s, LENGTH(%(expressions)s) - 3))",
    )
)


def search(queryset: QuerySet[Any], text: str) -> QuerySet[Any]:
    """The connections that somebody can mean who says `text`, in upper or lower case.

    The beginning of a name, an endpoint's host, an account ID or a business ID, with or without
    its prefix; the domain of an endpoint; the last four characters of an API key, or its hint; and
    what `find_workspaces` finds.
    """
    conditions = [
        has_id("sc_", "biz_id", text),
        has_id("acct_", "stripe_account_id", text),
        begins_with(folded("connection_name"), text),
        begins_with(ENDPOINT, SCHEME + text.removeprefix(SCHEME)),
        Q(workspace__in=find_workspaces(text)),
    ]
    host = text.removeprefix(SCHEME).partition("/")[0]
    if "." in host:
        conditions.append(begins_with(DOMAIN, f".{host}"[::-1]))
    if hint := HINT.fullmatch(text):
        conditions.append(_ends_with(hint["tail"], hint["prefix"]))
    # A query for each, because the databases do not always combine indexes for an OR.
    first, *others = (queryset.model.objects.filter(found).values("pk") for found in conditions)
    return queryset.filter(pk__in=first.union(*others))


def _ends_with(tail: str, prefix: str | None) -> Q:
    found = Q(Exact(KEY_TAIL, Lower(Value(tail))))
    return found & Q(api_key_hint__startswith=f"{prefix}…") if prefix else found
