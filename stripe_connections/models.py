"""The Stripe connection of a workspace."""

from datetime import datetime
from typing import Any, ClassVar, Self

from django.core.exceptions import FieldError
from django.db import connections, models
from django.db.models import F, Q
from django.utils import timezone

from stripe_connections import search
from stripe_connections.secrets.columns import (
    FINGERPRINT_LENGTH,
    HINT_LENGTH,
    column_names,
    described,
)
from stripe_connections.secrets.fields import EncryptedTextField, Secret
from stripe_connections.secrets.keyring import keyring
from stripe_connections.stripe_api.replies import (
    CAUSE_LENGTH,
    PERMISSION_LENGTH,
    VERIFICATION_FIELDS,
    Reply,
    Verification,
)
from workspaces import business_ids
from workspaces.constraints import length_between, starts_with, starts_with_in_any_case
from workspaces.models import MAX_CLOCK_DIFFERENCE, Workspace
from workspaces.search import folded

SECRET_FIELDS = ("api_key", "webhook_secret")
UPDATABLE_FIELDS = frozenset(
    {
        "connection_name",
        "connection_description",
        "stripe_account_id",
        "api_key",
        "webhook_secret",
        "partner_endpoint",
        "config_json",
        "status",
    }
)
# What the columns hold, in characters.
NAME_LENGTH = 128
DESCRIPTION_LENGTH = 1_000
ACCOUNT_ID_LENGTH = 255
# A sk_org_live_ key has 236.
SECRET_LENGTH = 1_024
ENDPOINT_LENGTH = 2_048
CONFIG_LENGTH = 16 * 1024


class Status(models.IntegerChoices):
    """Whether a connection is in use."""

    INACTIVE = 0, "Inactive"
    ACTIVE = 1, "Active"


class Mode(models.TextChoices):
    """Whether an API key moves real money."""

    LIVE = "live", "Live"
    TEST = "test", "Test"


def in_mode(mode: str) -> Q:
    """Connections whose API key is of `mode`: hints read "sk_live_…4242"."""
    return Q(api_key_hint__contains=f"_{mode}_…")


def mode_of(hint: str | None) -> str:
    """The mode that the hint of an API key shows: "live", "test", or "" if it shows none."""
    return next((mode for mode in Mode.values if f"_{mode}_…" in (hint or "")), "")


class StripeConnectionQuerySet(models.QuerySet["StripeConnection"]):
    """Queries that know which columns are secrets."""

    def order_by(self, *field_names: Any) -> Self:
        """Raises a FieldError for a secret: its ciphertext begins with the time of encryption."""
        for item in field_names:
            name = getattr(getattr(item, "expression", item), "name", item)
            if str(name).lstrip("-") in SECRET_FIELDS:
                raise FieldError("Connections cannot be ordered by a secret.")
        return super().order_by(*field_names)

    def for_update(self, timeout: str) -> Self:
        """Lock these rows, but no related ones; PostgreSQL waits at most `timeout` ("5s").

        The statement that waits sets the timeout for its transaction. A start-up parameter or a
        SET would be lost behind PgBouncer in transaction mode, and a separate statement would add
        one to every update. SQLite has its timeout in the options of the database.
        """
        locked = self.select_for_update(of=("self",))
        if connections[self.db].vendor != "postgresql":
            return locked
        template = "set_config('lock_timeout', %(expressions)s, true)"
        return locked.annotate(
            lock_timeout=models.Func(
                models.Value(timeout), template=template, output_field=models.CharField()
            )
        )

    def with_secrets(self) -> Self:
        """Load the secrets too, each as a `Secret`; nothing is decrypted."""
        return self.defer(None)

    def with_previous(self, name: str, column: str) -> Self:
        """Annotate as `name` a column of the replaced webhook secret that still verifies events."""
        now, of = timezone.now(), models.OuterRef("pk")
        # One that a wrong clock replaced in the future is not valid until then.
        valid = ReplacedSecret.objects.filter(
            connection=of,
            field="webhook_secret",
            valid_until__gt=now,
            replaced_at__lt=F("valid_until"),
            replaced_at__lte=now + MAX_CLOCK_DIFFERENCE,
        )
        newest = valid.order_by("-version").values(column)[:1]
        return self.annotate(**{name: models.Subquery(newest)})

    def with_overlap(self) -> Self:
        """With `previous_webhook_secret_until`, which is None otherwise."""
        return self.with_previous("previous_webhook_secret_until", "valid_until")

    def holding(self, secret: str) -> Self:
        """Connections that have `secret` as their API key or webhook signing secret."""
        fingerprints = keyring().fingerprints(secret)
        return self.filter(
            Q(api_key_fingerprint__in=fingerprints) | Q(webhook_secret_fingerprint__in=fingerprints)
        )


class StripeConnectionManager(models.Manager.from_queryset(StripeConnectionQuerySet)):  # type: ignore[misc]  # created at run time
    """Defers the secrets, which few callers need."""

    def get_queryset(self) -> StripeConnectionQuerySet:
        queryset: StripeConnectionQuerySet = super().get_queryset().defer(*SECRET_FIELDS)
        return queryset


def _all_or_none(secret: str) -> Q:
    """The condition that the columns of a secret are all set or all null."""
    columns = column_names(secret)
    return Q(**{f"{column}__isnull": True for column in columns}) | Q(
        **{f"{column}__isnull": False for column in columns}
    )


# Of every row, by the name of the check constraint without "connection_".
_CONDITIONS = {
    "biz_id": business_ids.condition("sc"),
    "name_length": length_between("connection_name", 1, NAME_LENGTH),
    "description_length": length_between("connection_description", 0, DESCRIPTION_LENGTH),
    "account_id": starts_with("stripe_account_id", "acct_")
    & length_between("stripe_account_id", len("acct_") + 1, ACCOUNT_ID_LENGTH),
    "endpoint": starts_with_in_any_case("partner_endpoint", "https://")
    & length_between("partner_endpoint", len("https://") + 1, ENDPOINT_LENGTH),
    "config_length": length_between("config_json", 2, CONFIG_LENGTH),
    "status": Q(status__in=Status.values),
    "version": Q(version__gte=1),
    "verification": Q(verification__in=Verification.values),
    "verified_key": Q(verification=Verification.UNVERIFIED) | Q(api_key__isnull=False),
    "verified_account": Q(verification__in=[Verification.REJECTED, Verification.UNVERIFIED])
    | Q(stripe_account_id__isnull=True)
    | Q(verification=Verification.RESTRICTED, verification_account_id__isnull=True)
    | Q(verification_account_id__isnull=False, verification_account_id=F("stripe_account_id")),
    "api_key": _all_or_none("api_key"),
    "webhook_secret": _all_or_none("webhook_secret"),
}


class StripeConnection(models.Model):
    """The Stripe account that a workspace uses.

    Only `services.py` changes rows. Every change increases `version`, which is the ETag and is
    compared with `If-Match`.
    """

    biz_id = business_ids.field("sc")
    # Found by the index that lists a workspace's connections.
    workspace = models.ForeignKey(
        Workspace, on_delete=models.PROTECT, related_name="connections", db_index=False
    )
    connection_name = models.CharField("name", max_length=NAME_LENGTH)
    connection_description = models.CharField(
        "description", max_length=DESCRIPTION_LENGTH, null=True, blank=True
    )
    stripe_account_id = models.CharField(
        "Stripe account ID", max_length=ACCOUNT_ID_LENGTH, null=True, blank=True
    )
    api_key = EncryptedTextField("API key", max_length=SECRET_LENGTH, null=True, blank=True)
    api_key_hint = models.CharField(max_length=HINT_LENGTH, null=True, editable=False)
    # The fingerprints have no index. They are searched only if a key has leaked, and a scan of a
    # million rows takes a second. Without an index, the updates of a rotation are "heap-only
    # tuple" updates in PostgreSQL.
    api_key_fingerprint = models.CharField(max_length=FINGERPRINT_LENGTH, null=True, editable=False)
    api_key_replaced_at = models.DateTimeField("key replaced", null=True, editable=False)
    webhook_secret = EncryptedTextField(
        "webhook signing secret", max_length=SECRET_LENGTH, null=True, blank=True
    )
    webhook_secret_hint = models.CharField(max_length=HINT_LENGTH, null=True, editable=False)
    webhook_secret_fingerprint = models.CharField(
        max_length=FINGERPRINT_LENGTH, null=True, editable=False
    )
    webhook_secret_replaced_at = models.DateTimeField(null=True, editable=False)
    # What Stripe said about this key and account; `services.py` resets it if either changes.
    verification = models.CharField(
        max_length=10,
        choices=Verification,
        default=Verification.UNVERIFIED,
        db_default=Verification.UNVERIFIED,
        editable=False,
    )
    verification_at = models.DateTimeField(null=True, editable=False)
    verification_account_id = models.CharField(
        max_length=ACCOUNT_ID_LENGTH, null=True, editable=False
    )
    missing_permission = models.CharField(max_length=PERMISSION_LENGTH, null=True, editable=False)
    verification_cause = models.CharField(max_length=CAUSE_LENGTH, null=True, editable=False)
    partner_endpoint = models.CharField(max_length=ENDPOINT_LENGTH, null=True, blank=True)
    # Text instead of a JSON column, because it is returned verbatim.
    config_json = models.TextField("configuration", null=True, blank=True)
    status = models.PositiveSmallIntegerField(choices=Status, default=Status.ACTIVE)
    version = models.PositiveBigIntegerField(default=1, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    updated_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = StripeConnectionManager()

    # Until when the replaced webhook secret verifies events, too; see `with_overlap`.
    previous_webhook_secret_until: datetime | None = None

    class Meta:
        verbose_name = "connection"
        permissions: ClassVar = [("replace_secrets", "Can replace the secrets of a connection")]
        indexes: ClassVar = [
            models.Index("workspace", "id", name="connection_of_workspace"),
            models.Index("workspace", folded("connection_name"), "id", name="connection_by_name"),
            models.Index(folded("biz_id"), name="connection_search_biz_id"),
            models.Index(folded("stripe_account_id"), name="connection_search_account"),
            models.Index(folded("connection_name"), name="connection_search_name"),
            models.Index(search.ENDPOINT, name="connection_search_endpoint"),
            # On PostgreSQL, a migration adds an index on `search.DOMAIN`.
            models.Index(search.KEY_TAIL, name="connection_search_key_tail"),
        ]
        constraints: ClassVar = [
            models.CheckConstraint(name=f"connection_{name}", condition=condition)
            for name, condition in _CONDITIONS.items()
        ]

    def __str__(self) -> str:
        return f"{self.connection_name} ({self.biz_id})"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save, but leave out the secrets of a stored row that were not replaced.

        An instance that was loaded before somebody else replaced a key would otherwise write the
        old key, or its hint, over the new one.
        """
        is_update = not (self._state.adding or kwargs.get("force_insert"))
        if is_update and kwargs.get("update_fields") is None:
            fields = {field.attname for field in self._meta.concrete_fields} - {"id"}
            for name in SECRET_FIELDS:
                if not isinstance(vars(self).get(name), str):
                    fields.difference_update(column_names(name))
            kwargs["update_fields"] = fields - self.get_deferred_fields()
        super().save(*args, **kwargs)

    def shown(self, name: str) -> Any:
        """The value of a field that may be shown: for a secret, its hint."""
        return getattr(self, f"{name}_hint" if name in SECRET_FIELDS else name)

    @property
    def mode(self) -> str:
        """The mode of the API key: "live", "test", or "" if its prefix shows none."""
        return mode_of(self.api_key_hint)

    @property
    def outcome(self) -> Reply:
        """What Stripe said about this API key for this account."""
        return Reply(*(getattr(self, name) for name in VERIFICATION_FIELDS))

    def keep_outcome(self, reply: Reply) -> None:
        """Set VERIFICATION_FIELDS, without saving."""
        for name, value in reply.columns.items():
            setattr(self, name, value)

    def is_unreadable(self, name: str) -> bool:
        """Whether the stored ciphertext cannot be decrypted in this row.

        Checks the signature of the ciphertext and decrypts nothing. A stored flag would be wrong
        as soon as somebody changes FERNET_KEYS or restores a backup.
        """
        secret: Secret | None = getattr(self, name)
        return secret is not None and secret.position(self) is None

    def replace_secret(self, name: str, secret: str) -> None:
        """Set the columns of one of SECRET_FIELDS; saving encrypts the secret."""
        for attribute, value in {name: secret, **described(name, secret)}.items():
            setattr(self, attribute, value)


class IdempotencyKey(models.Model):
    """Which connection was created for a client's `Idempotency-Key`; see `idempotency.py`."""

    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, db_index=False)
    # A digest, because a client could put a secret into its key.
    key_digest = models.CharField(max_length=64)
    body_fingerprint = models.CharField(max_length=FINGERPRINT_LENGTH)
    connection = models.ForeignKey(StripeConnection, on_delete=models.CASCADE, related_name="+")
    created_at = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                name="idempotency_key_unique", fields=["workspace", "key_digest"]
            )
        ]

    def __str__(self) -> str:
        return f"{self.key_digest} of {self.created_at}"


class ReplacedSecret(models.Model):
    """A secret that was replaced, kept for SECRET_UNDO_DAYS so that it can be restored; see `undo`.

    `statements.py` writes it with the update. Its ciphertext is that of the connection, and can be
    decrypted for the same connection and field only.
    """

    connection = models.ForeignKey(
        StripeConnection, models.CASCADE, related_name="replaced_secrets", db_index=False
    )
    field = models.CharField(max_length=16)
    ciphertext = models.BinaryField()
    hint = models.CharField(max_length=HINT_LENGTH)
    fingerprint = models.CharField(max_length=FINGERPRINT_LENGTH)
    # The version of the connection since which it is replaced, and whether that was a restore.
    version = models.PositiveBigIntegerField()
    is_restore = models.BooleanField()
    username = models.CharField(max_length=150, null=True)
    request_id = models.CharField(max_length=255, null=True)
    replaced_at = models.DateTimeField()
    # Until then, a webhook secret still verifies events.
    valid_until = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                name="replaced_secret_unique", fields=["connection", "version", "field"]
            )
        ]

    def __str__(self) -> str:
        return f"{self.hint} of {self.replaced_at}"

    @property
    def secret(self) -> Secret:
        """The secret, which only its connection reveals."""
        return Secret(self.field, bytes(self.ciphertext))


class LeakedSecret(models.Model):
    """A secret that was reported as leaked; see `undo.leaks`.

    Its digest has no key, so that it outlives every rotation: the secret is known anyway.
    """

    digest = models.CharField(max_length=64, primary_key=True)
    reported_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return f"{self.digest} of {self.reported_at}"


# The columns that an update reads, in the order of the model.
READ_FIELDS = tuple(
    field.attname
    for field in StripeConnection._meta.concrete_fields
    if not field.name.endswith(("_fingerprint", "_replaced_at"))
    and field.name not in (*SECRET_FIELDS, *VERIFICATION_FIELDS)
)
