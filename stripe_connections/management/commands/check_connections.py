"""Find connections whose stored values do not hold together or that today's rules refuse."""

from collections import defaultdict
from typing import Any, cast

from django.db.models import CheckConstraint
from rich.console import Console
from rich.table import Column, Table

from stripe_connections.audit import Actor
from stripe_connections.bulk import changes, command, selection
from stripe_connections.bulk.report import Report
from stripe_connections.encryption.fields import UndecryptableSecretError, decrypted
from stripe_connections.encryption.keyring import keyring
from stripe_connections.encryption.secrets import SecretTraces
from stripe_connections.models import SECRET_FIELDS, StripeConnection

# What is wrong: business id, field, code, message.
Finding = tuple[str, str, str, str]


class Command(command.BulkCommand):
    """A connection with anything wrong counts as failed, a sound one as unchanged."""

    help = (
        "Check that every secret can be decrypted, that hints and fingerprints belong to their "
        "secrets, that the database's constraints hold, and that names, endpoints and "
        "configurations pass today's rules. Nothing is written."
    )
    examples = """
check_connections
check_connections --workspace ws_demo --format json
"""
    only_reads = True

    def run(self, report: Report, actor: Actor, options: dict[str, Any]) -> None:
        is_table = options["format"] == "text" and self.stdout.isatty()
        table = Table(Column("Connection", overflow="fold"), "Field", "Code", "Message")
        for pks in selection.batches(selection.selected(options), options, report):
            broken = _constraint_breakers(pks)
            for connection in StripeConnection.objects.filter(pk__in=pks).with_tokens():
                findings = [*broken[connection.pk], *_findings(connection)]
                for biz_id, field, code, message in findings:
                    if is_table:
                        table.add_row(biz_id, field, code, message)
                    else:
                        report.tell(
                            f"{biz_id}  {field or '-'}  {code}  {message}",
                            bizId=biz_id,
                            field=field or None,
                            code=code,
                            message=message,
                        )
                report.row("failed" if findings else "unchanged", connection.biz_id)
            report.advance(len(pks))
        if table.row_count:
            report.stop()
            Console(file=cast("Any", self.stdout)).print(table)


def _constraint_breakers(pks: list[int]) -> dict[int, list[Finding]]:
    """By primary key; a database restored without its constraints, or altered, may hold some."""
    found: dict[int, list[Finding]] = defaultdict(list)
    for constraint in StripeConnection._meta.constraints:
        if isinstance(constraint, CheckConstraint):
            connections = StripeConnection.objects.filter(pk__in=pks)
            breakers = connections.exclude(constraint.condition).values_list("pk", "biz_id")
            for pk, biz_id in breakers:
                message = f"The constraint {constraint.name} does not hold."
                found[pk].append((biz_id, "", "constraint", message))
    return found


def _findings(connection: StripeConnection) -> list[Finding]:
    found: list[tuple[str, str, str]] = []
    values = {
        name: getattr(connection, column)
        for column, name in changes.API_NAMES.items()
        if column not in {*SECRET_FIELDS, "status"}
    }
    for column in SECRET_FIELDS:
        name = changes.API_NAMES[column]
        try:
            secret = _secret(connection, column)
        except UndecryptableSecretError:
            found.append((name, "undecryptable", "No key of FERNET_KEYS can read it."))
            continue
        if secret is not None:
            values[name] = secret
            found += [(name, *wrong) for wrong in _wrong_traces(connection, column, secret)]
    found += [(field, code, message) for field, code, message in changes.refused(values)]
    return [(connection.biz_id, *finding) for finding in found]


def _secret(connection: StripeConnection, column: str) -> str | None:
    token = getattr(connection, f"{column}_token")
    return None if token is None else decrypted(column, token)


def _wrong_traces(connection: StripeConnection, column: str, secret: str) -> list[tuple[str, str]]:
    wrong = []
    if getattr(connection, f"{column}_hint") != SecretTraces.of(secret).hint:
        wrong.append(("hint", "The hint is not the secret's."))
    position = keyring().position_of(bytes(getattr(connection, f"{column}_token")))
    expected = keyring().fingerprints(secret)[position or 0]
    if getattr(connection, f"{column}_fingerprint") != expected:
        wrong.append(("fingerprint", "The fingerprint is not the secret's under the same key."))
    return wrong
