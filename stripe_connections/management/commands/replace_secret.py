"""Find every connection that has a secret, and replace the secret or deactivate the connections.

Without --old-file and --old-env, the first line of standard input is the secret to find. In the
same way, the next line is the new secret.

Examples:
  manage.py replace_secret --deactivate < ~/leaked.txt
  manage.py replace_secret --old-file ~/leaked.txt --new-file ~/new.txt --apply
  manage.py replace_secret --leaked --deactivate --apply < ~/leaked.txt
  manage.py replace_secret --old-env LEAKED_KEY --new-env NEW_KEY --tenant tn_xyz789 --apply
"""

import getpass
import os
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from stripe_connections.audit.records import Actor
from stripe_connections.bulk import census, command, selection
from stripe_connections.bulk.pipeline import Pipeline, planner_of, validated
from stripe_connections.bulk.report import Report
from stripe_connections.models import Status, StripeConnection
from stripe_connections.secrets.keyring import keyring
from stripe_connections.undo import leaks
from stripe_connections.validation.serializers import API_NAMES

MAX_BYTES = 4_096


class Command(command.BulkCommand):
    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        for name, text in (("old", "the secret to look for"), ("new", "the new secret")):
            group = parser.add_mutually_exclusive_group()
            group.add_argument(f"--{name}-file", metavar="FILE", help=f"a file that holds {text}")
            group.add_argument(
                f"--{name}-env", metavar="NAME", help=f"an environment variable that holds {text}"
            )
        Pipeline.add_mode_argument(parser)
        parser.add_argument(
            "--deactivate",
            action="store_true",
            help="set the status to INACTIVE instead of replacing the secret",
        )
        parser.add_argument(
            "--leaked",
            action="store_true",
            help="also erase the kept copies, and let nobody save or restore the secret again",
        )
        parser.add_argument(
            "--lift", action="store_true", help="only undo --leaked: let the secret be saved again"
        )
        parser.add_argument(
            "--if-any", action="store_true", help="exit with 0 if no connection has the secret"
        )

    def run(self, report: Report, actor: Actor, options: dict[str, Any]) -> None:
        old = _secret("old", "the secret to look for", options)
        column = "webhook_secret" if old.startswith("whsec_") else "api_key"
        # No connection has a mistyped secret, which would look as if it were not stored anywhere.
        validated({API_NAMES[column]: old})
        if options["lift"]:
            is_lifted = not options["apply"] or leaks.lift(old, actor)
            report.row("changed" if is_lifted else "unchanged", None, "It can be saved again.")
            return
        new: dict[str, Any] = {"status": Status.INACTIVE}
        if not options["deactivate"]:
            secret = _secret("new", "the new secret", options)
            if secret == old:
                raise CommandError("The new secret is the same as the old one.")
            new = validated({API_NAMES[column]: secret})
        fingerprints = keyring().fingerprints(old)

        def wanted(connection: StripeConnection) -> dict[str, Any] | None:
            # The secret may have been replaced since the connection was selected.
            return new if getattr(connection, f"{column}_fingerprint") in fingerprints else None

        holders = selection.selected(options).filter(**{f"{column}_fingerprint__in": fingerprints})
        if unreadable := census.count_unreadable():
            self.stderr.write(
                f"Warning: {unreadable} stored secrets cannot be decrypted with FERNET_KEYS, so "
                "they are not searched. census_secrets lists them."
            )
        is_leaked = options["leaked"] and options["apply"]
        if is_leaked:
            leaks.report(old, actor)
        if not (holders.exists() or options["if_any"] or options["leaked"]):
            raise CommandError("No connection has this secret.")
        batches = selection.batches(holders, options, report)
        Pipeline(report, actor, options).run(batches, planner_of(wanted))
        if is_leaked:
            # Replacing it has kept it once more.
            leaks.erase(old)
            report.text("It is marked as leaked: nobody can save or restore it.")


def _secret(which: str, what: str, options: dict[str, Any]) -> str:
    """Read a secret from the file or variable in the options, or from standard input."""
    if path := options[f"{which}_file"]:
        with selection.open_input(path) as file:
            text = file.readline(MAX_BYTES).decode("utf-8-sig", "replace")
    elif name := options[f"{which}_env"]:
        text = os.environ.get(name, "")
    elif selection.standard_input().isatty():
        text = getpass.getpass(f"Type {what}: ")
    else:
        text = selection.standard_input().readline(MAX_BYTES)
    if not text.strip():
        raise CommandError(f"No value for {what}.")
    return text.strip()
