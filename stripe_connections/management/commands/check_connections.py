"""Find connections with invalid data. Nothing is written.

Checks that every secret can be decrypted, also one that was replaced, that hints and fingerprints
match their secrets, that the constraints of the database hold, and that names, endpoints and
configurations are valid under today's rules.

Examples:
  manage.py check_connections
  manage.py check_connections --workspace ws_demo --format json
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from django.db.models import CheckConstraint

from config.web_chain.exceptions import InvalidFieldsError
from stripe_connections.audit.records import Actor
from stripe_connections.bulk import command, selection
from stripe_connections.bulk.report import Report
from stripe_connections.models import SECRET_FIELDS, ReplacedSecret, StripeConnection
from stripe_connections.secrets.columns import hint_of
from stripe_connections.secrets.fields import Secret, UndecryptableSecretError
from stripe_connections.secrets.keyring import keyring
from stripe_connections.undo import replaced
from stripe_connections.validation.serializers import API_NAMES, SECRET_NAMES, ChangesSerializer

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
                findings = [*broken[connection.pk], *_wrong_values(connection, kept[connection.pk])]
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


def _wrong_values(
    connection: StripeConnection, kept: Iterable[ReplacedSecret]
) -> Iterator[Finding]:
    """Hints and fingerprints that do not match their secrets, and values that the API refuses."""
    # A constraint checks the status.
    columns = API_NAMES.keys() - {*SECRET_FIELDS, "status"}
    values = {API_NAMES[column]: getattr(connection, column) for column in columns}
    for name, stored, hint, fingerprint in _secrets(connection, kept):
        try:
            secret = stored.reveal(connection)
        except UndecryptableSecretError:
            yield name, "undecryptable", "No key of FERNET_KEYS can decrypt it in this row."
            continue
        if name in SECRET_NAMES:
            values[name] = secret
        if hint != hint_of(secret):
            yield name, "hint", "The hint does not match the secret."
        if fingerprint != keyring().fingerprints(secret)[stored.position(connection) or 0]:
            yield name, "fingerprint", "The fingerprint does not match the secret."
    try:
        ChangesSerializer().to_internal_value(values)
    except InvalidFieldsError as error:
        for entry in error.errors or ():
            yield str(entry["field"]), entry["code"], entry["message"]


def _secrets(
    connection: StripeConnection, kept: Iterable[ReplacedSecret]
) -> Iterator[tuple[str, Secret, str, str]]:
    """Name, secret, hint and fingerprint of the stored secrets and of those that were replaced."""
    for column in SECRET_FIELDS:
        if stored := getattr(connection, column):
            columns = (f"{column}_hint", f"{column}_fingerprint")
            yield API_NAMES[column], stored, *(getattr(connection, name) for name in columns)
    for row in kept:
        yield f"replaced {API_NAMES[row.field]}", row.secret, row.hint, row.fingerprint
