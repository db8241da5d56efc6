"""Set fields of many connections under the API's names, and move endpoints to another host.

The dry run prints old and new values. To change secrets, use replace_secret or
import_connections.

Examples:
  manage.py update_connections --tenant tn_xyz789 --set status=INACTIVE
  manage.py update_connections --account acct_1234567890 --set-null connectionDescription --apply
  manage.py update_connections --rewrite-host old.example.com=new.example.com --apply
  cut -d, -f3 broken.csv | manage.py update_connections --ids - --set status=INACTIVE --apply
"""

import re
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from stripe_connections.audit.records import Actor
from stripe_connections.bulk import command, selection
from stripe_connections.bulk.pipeline import Pipeline, RefusedError, planner_of, validated
from stripe_connections.bulk.report import Report
from stripe_connections.models import StripeConnection
from stripe_connections.validation.serializers import API_NAMES, SECRET_NAMES

NAMES = [name for name in API_NAMES.values() if name not in SECRET_NAMES]


class Command(command.BulkCommand):
    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--set", action="append", default=[], metavar="FIELD=VALUE", help="can be repeated"
        )
        parser.add_argument(
            "--set-null", action="append", default=[], metavar="FIELD", help="can be repeated"
        )
        parser.add_argument(
            "--rewrite-host",
            action="append",
            default=[],
            metavar="OLD=NEW",
            help="the host of the partner endpoint; the rest of the URL stays; can be repeated",
        )

    def run(self, report: Report, actor: Actor, options: dict[str, Any]) -> None:
        values = _values(options)
        hosts = dict(_pair(text) for text in options["rewrite_host"])
        if not (values or hosts):
            raise CommandError("Give at least one of --set, --set-null and --rewrite-host.")
        connections = selection.selected(options)
        if not values:
            pattern = selection.host_pattern(*hosts)
            connections = connections.filter(partner_endpoint__iregex=pattern)

        def wanted(connection: StripeConnection) -> dict[str, Any]:
            return values | _rewritten(connection, hosts)

        batches = selection.batches(connections, options, report)
        Pipeline(report, actor, options).run(batches, planner_of(wanted))


def _values(options: dict[str, Any]) -> dict[str, Any]:
    values: dict[str, str | None] = dict.fromkeys(options["set_null"])
    for name, value in map(_pair, options["set"]):
        if name in values:
            raise CommandError(f"{name} is set twice.")
        values[name] = value
    if secret := [name for name in SECRET_NAMES if name in values]:
        raise CommandError(
            f"{secret[0]} on a command line could be seen by others. Use replace_secret."
        )
    try:
        return validated(values)
    except RefusedError as error:
        if values.keys() <= {*NAMES}:
            raise
        raise CommandError(f"{error} The fields are {', '.join(NAMES)}.") from None


def _pair(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not (name and separator):
        # The text is not quoted, because it may contain a key.
        raise CommandError("--set and --rewrite-host need two texts separated by =.")
    return name, value


def _rewritten(connection: StripeConnection, hosts: dict[str, str]) -> dict[str, Any]:
    """The endpoint on its new host, or nothing if it is not on any of `hosts`; RefusedError."""
    endpoint = connection.partner_endpoint or ""
    for old, new in hosts.items():
        if found := re.match(selection.host_pattern(old), endpoint, re.IGNORECASE):
            start, end = found.span(1)
            return validated({"partnerEndpoint": endpoint[:start] + new + endpoint[end:]})
    return {}
