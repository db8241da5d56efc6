"""Find connections with invalid data. Nothing is written.

Checks that every secret can be decrypted, also one that was replaced, that hints and fingerprints
match their secrets, that the constraints of the database hold, and that names, endpoints and
configurations are valid under today's rules.

Examples:
  manage.py check_connections
  manage.py check_connections --workspace ws_demo --format json
"""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from django.db.models import CheckConstraint

from config.web_chain.exceptions import InvalidFieldsError
from stripe_connections.audit.records import Actor
from stripe_connections.bulk import command, selection
from stripe_connections.bulk.report import Report
from stripe_connections.models import SECRET_FIELDS, StripeConnection
from stripe_connections.secrets.columns import hint_of
from stripe_connections.secrets.fields import Secret, UndecryptableSecretError
from stripe_connections.secrets.keyring import keyring
from stripe_connections.undo import replaced
from stripe_connections.validation.serializers import API_NAMES, ChangesSerializer

# Field, code and message.
Finding = tuple[str, str, str]


class Command(command.BulkCommand):
    only_reads = True

    def run(self, report: Report, actor: Actor, options: dict[str, Any]) -> None:
        for pks in selection.batches(selection.selected(options), options, report):
            broken = _constraint_breakers(pks)
            kept = replaced.by_connection(pks)
            for connection in StripeConnection.objects.filter(pk__in=pks).with_secrets():
                biz_id = connection.biz_id
                findings = [*broken[connection.pk], *_wrong_values(connection)]
                for row in kept[connection.pk]:
                    name, known = API_NAMES[row.field], (row.hint, row.fingerprint)
                    findings += _wrong_secret(f"replaced {name}", row.secret, connection, known)[1]
                for field, code, message in findings:
                    report.entry(
                        f"{biz_id}  {field or '-'}  {code}  {message}",
                        bizId=biz_id,
                        field=field or None,
                        code=code,
                        message=message,
                    )
                report.row("failed" if findings else "unchanged", biz_id)
            report.advance(len(pks))


def _constraint_breakers(pks: list[int]) -> dict[int, list[Finding]]:
    """By primary key. A database that was altered, or restored without constraints, has some."""
    found: dict[int, list[Finding]] = defaultdict(list)
    connections = StripeConnection.objects.filter(pk__in=pks)
    for constraint in StripeConnection._meta.constraints:
        if isinstance(constraint, CheckConstraint):
            message = f"The constraint {constraint.name} is violated."
            for pk in connections.exclude(constraint.condition).values_list("pk", flat=True):
                found[pk].append(("", "constraint", message))
    return found


def _wrong_values(connection: StripeConnection) -> Iterator[Finding]:
    """Hints and fingerprints that do not match their secrets, and values that the API refuses."""
    values = {}
    for column, name in API_NAMES.items():
        if column not in SECRET_FIELDS:
            values[name] = getattr(connection, column)
            continue
        stored: Secret | None = getattr(connection, column)
        if stored is None:
            continue
        known = (
            getattr(connection, f"{column}_hint"),
            getattr(connection, f"{column}_fingerprint"),
        )
        secret, findings = _wrong_secret(name, stored, connection, known)
        if secret:
            values[name] = secret
        yield from findings
    # The serializer expects a name. A constraint checks the stored number.
    del values["status"]
    try:
        ChangesSerializer().to_internal_value(values)
    except InvalidFieldsError as error:
        for entry in error.errors or ():
            yield str(entry["field"]), entry["code"], entry["message"]


def _wrong_secret(
    name: str, stored: Secret, connection: StripeConnection, known: tuple[str, str]
) -> tuple[str, list[Finding]]:
    """The secret, "" if it cannot be read, and what is wrong with its hint and fingerprint."""
    try:
        secret = stored.reveal(connection)
    except UndecryptableSecretError:
        text = "No key of FERNET_KEYS can decrypt it in this row."
        return "", [(name, "undecryptable", text)]
    fingerprint = keyring().fingerprints(secret)[stored.position(connection) or 0]
    expected = {"hint": hint_of(secret), "fingerprint": fingerprint}
    return secret, [
        (name, code, f"The {code} does not match the secret.")
        for (code, value), found in zip(expected.items(), known, strict=True)
        if value != found
    ]
