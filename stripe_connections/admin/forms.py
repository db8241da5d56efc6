"""The forms of the admin, with the rules and messages of the API's update call."""

import json
import math
import uuid
from typing import Any, ClassVar, cast

from django import forms
from django.core.exceptions import ValidationError
from django.http import QueryDict
from django.utils import timezone
from django_otp import devices_for_user
from django_otp.admin import OTPAdminAuthenticationForm
from django_otp.plugins.otp_totp.models import TOTPDevice

from config.web_chain.exceptions import InvalidFieldsError
from stripe_connections.audit import history
from stripe_connections.audit.history import Entry
from stripe_connections.models import SECRET_FIELDS, Status, StripeConnection
from stripe_connections.secrets.keyring import keyring
from stripe_connections.statements import MAX_VERSION
from stripe_connections.stripe_api import verification
from stripe_connections.stripe_api.replies import Reply
from stripe_connections.stripe_api.verification import (
    TooManyAttemptsError,
    VerificationError,
    VerificationUnavailableError,
)
from stripe_connections.undo import leaks
from stripe_connections.validation.serializers import API_NAMES, ChangesSerializer

CONFLICT = (
    "This connection was changed after you opened it, so nothing was saved. What you typed is "
    "still here, except for secrets; the other inputs show the current values. Check the changes "
    "above, then save again."
)
TOO_MANY = "Too many requests to Stripe for this workspace or about this key. Nothing was saved."
UNAVAILABLE = "The key could not be checked, so nothing was saved."
CONFIRM = "If this is intended, type it again and select the checkbox below."
STORED_IS_REJECTED = (
    "Stripe rejects the stored API key, so the account cannot be checked: type a new key with it."
)
REQUIRED = ("connection_name",)
AGAIN = (
    "It was not saved, and a page never shows a secret: type it again or select the checkbox below."
)
KEEP = "Leave empty to keep the stored one."


class TextField(forms.CharField):
    """The text as it was typed; the form validates all of them together.

    Removes the carriage returns that a browser adds to the lines of a text area.
    """

    def __init__(
        self, label: str, widget: forms.Widget, *, required: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(label=label, widget=widget, required=required, strip=False, **kwargs)

    def clean(self, value: Any) -> Any:
        return self.to_python(value)

    def to_python(self, value: Any) -> Any:
        return super().to_python(value and str(value).replace("\r\n", "\n"))

    def has_changed(self, initial: Any, data: Any) -> bool:
        return super().has_changed(self.to_python(initial), data)


def _line(width: str = "vTextField") -> forms.TextInput:
    return forms.TextInput(attrs={"class": width})


def _area(rows: int) -> forms.Textarea:
    return forms.Textarea(attrs={"class": "vLargeTextField", "rows": rows})


def _secret() -> forms.PasswordInput:
    return forms.PasswordInput(attrs={"autocomplete": "new-password", "class": "vTextField"})


def _hidden_box(label: str) -> forms.BooleanField:
    return forms.BooleanField(label=label, required=False, widget=forms.HiddenInput)


class ConnectionForm(forms.ModelForm):
    """A connection to change or to add; `services.py` saves it.

    `reply` is Stripe's reply about a new key or account, `user` the member of staff who sent it.
    """

    reply: Reply | TooManyAttemptsError = Reply()
    user: Any = None

    # The version that the form shows.
    seen_version = forms.IntegerField(
        widget=forms.HiddenInput, required=False, max_value=MAX_VERSION
    )
    form_id = forms.CharField(widget=forms.HiddenInput, required=False)
    # Names of the secrets that were typed before an error, so that an empty input is a mistake.
    retype = forms.CharField(widget=forms.HiddenInput, required=False)
    connection_name = TextField("Name", _line(), required=True)
    connection_description = TextField("Description", _area(3), empty_value=None)
    stripe_account_id = TextField("Stripe account ID", _line(), empty_value=None)
    api_key = TextField("New API key", _secret(), help_text=KEEP)
    # These boxes are hidden until they are needed.
    allow_mode_change = _hidden_box("Allow the change between live and test mode")
    keep_api_key = _hidden_box("Keep the stored API key")
    webhook_secret = TextField("New webhook secret", _secret(), help_text=KEEP)
    keep_webhook_secret = _hidden_box("Keep the stored webhook secret")
    partner_endpoint = TextField("Partner endpoint", _line("vLargeTextField"), empty_value=None)
    config_json = TextField("Configuration", _area(8), empty_value=None)

    class Meta:
        model = StripeConnection
        # In addition to the fields above; the admin chooses among them.
        fields: ClassVar = ["workspace", "status"]
        # Initial values are read from the instance, which must not happen for secrets.
        exclude: ClassVar = [*SECRET_FIELDS]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial["seen_version"] = self.instance.version
        self.initial["form_id"] = uuid.uuid4().hex
        self.conflict: list[Entry] = []
        if self.instance.pk is None:
            for name in self.fields.keys() & {*SECRET_FIELDS}:
                self.fields[name].label = history.field_label(name)
                self.fields[name].help_text = ""
                self.fields[f"keep_{name}"].label = "Save without this secret"

    def clean(self) -> dict[str, Any]:
        """Validate the changes, and refuse to overwrite what somebody else changed."""
        data = super().clean() or self.cleaned_data
        self.changes = self._validated()
        try:
            leaks.refuse_leaked(self.changes)
        except leaks.LeakedSecretError as error:
            self.add_error(error.field, str(error))
        self._apply_reply()
        seen = data.get("seen_version")
        if self.instance.pk and seen != self.instance.version:
            records = history.records_since(self.instance, seen or 0)
            if all(record.actor_id == self.user.pk for record in records) and self._is_stored():
                return data
            self.conflict = [Entry.of(record) for record in records]
            self._keep_what_was_typed(
                # Newest first, so that the oldest values remain.
                {name: old for record in records for name, (old, _) in record.changes.items()}
            )
            raise ValidationError(CONFLICT, code="conflict")
        return data

    def creation_key(self) -> str | None:
        """The idempotency key: the same if this form is posted again with the same values."""
        form_id = self.cleaned_data.get("form_id")
        values = json.dumps(self.changes, sort_keys=True)
        return f"{form_id} {keyring().fingerprint(values)}" if form_id else None

    def _is_stored(self) -> bool:
        """Whether this form was already saved, for example by the first half of a double click.

        A typed secret is compared by its fingerprint.
        """
        stored = all(
            name in SECRET_FIELDS
            and getattr(self.instance, f"{name}_fingerprint") in keyring().fingerprints(value)
            for name, value in self.changes.items()
        )
        if stored and not self.errors:
            self.cleaned_data["seen_version"] = self.instance.version
            self.changes = {}
            return True
        return False

    def _validated(self) -> dict[str, Any]:
        """The changed fields, validated by the rules of the update call.

        Unchanged fields are not validated, so that staff can correct one value in a row in which
        another one breaks a newer rule. An emptied input is null if the call accepts null.
        """
        typed = {*self.changed_data} if self.instance.pk else {*self.changed_data, *REQUIRED}
        names = [name for name in API_NAMES if name in typed & self.cleaned_data.keys()]
        values = {API_NAMES[name]: self.cleaned_data[name] for name in names}
        if "status" in values:
            values["status"] = Status(values["status"]).name
        rules = ChangesSerializer()
        try:
            changes = rules.to_internal_value(values)
        except InvalidFieldsError as error:
            for entry in error.errors or ():
                self.add_error(rules.fields[str(entry["field"])].source, entry["message"])
            return {}
        # A trimmed value can equal the stored one. Secrets have no initial value.
        return {name: v for name, v in changes.items() if v != self.initial.get(name)}

    @property
    def is_mode_confirmed(self) -> bool:
        """Whether a live key may replace a test key, or the other way round."""
        return bool(self.cleaned_data.get("allow_mode_change"))

    def _apply_reply(self) -> None:
        """Add an error if Stripe's reply or the key's mode forbids the change."""
        if self.is_mode_confirmed:
            self._show_box("allow_mode_change")
        if isinstance(self.reply, TooManyAttemptsError):
            minutes = math.ceil(self.reply.wait / 60)
            self.add_error(None, f"{TOO_MANY} Try again in {minutes} min.")
            return
        try:
            verification.judged(
                self.reply, self.instance, self.changes, allow_mode_change=self.is_mode_confirmed
            )
        except VerificationUnavailableError as error:
            self.add_error(None, f"{UNAVAILABLE} {error}")
        except VerificationError as error:
            self._refuse(error)

    def _refuse(self, error: VerificationError) -> None:
        if error.code == "mode_mismatch":
            self._show_box("allow_mode_change")
            self.add_error(error.field, f"{error.message} {CONFIRM}")
        elif error.field == "api_key" and "api_key" not in self.changes:
            # Stripe rejected the stored key, and the user may have no input for a new one.
            self.add_error("stripe_account_id", STORED_IS_REJECTED)
        else:
            self.add_error(error.field, error.message)

    def _show_box(self, name: str) -> None:
        self.fields[name].widget = forms.CheckboxInput()

    def _post_clean(self) -> None:
        """Ask for typed secrets again after an error, because the next page shows them empty.

        Replaces Django's method, which would write into the instance; `services.py` saves.
        """
        secrets = [name for name in SECRET_FIELDS if name in self.fields]
        missing = [
            name
            for name in secrets
            if name in str(self.data.get("retype")).split()
            and not self.data.get(name)
            and not self.cleaned_data.get(f"keep_{name}")
        ]
        if not (self.errors or missing):
            return
        lost = [name for name in secrets if name in missing or self.data.get(name)]
        for name in lost:
            self._show_box(f"keep_{name}")
            if name not in self.errors:
                self.add_error(name, AGAIN)
        self._redisplay()["retype"] = " ".join(lost)
        for name in self.errors.keys() & self.fields.keys():
            # The browser focuses the first of them.
            self.fields[name].widget.attrs["autofocus"] = True

    def _redisplay(self) -> QueryDict:
        """The posted values, which can be changed for the page that shows them again."""
        self.data = data = cast("QueryDict", self.data).copy()
        return data

    def _keep_what_was_typed(self, before: dict[str, Any]) -> None:
        """Show the current value in each input that still has its value from `before`."""
        data = self._redisplay()
        data["seen_version"] = str(self.instance.version)
        for name, old in before.items():
            field = self.fields.get(name)
            if name not in SECRET_FIELDS and field and not field.has_changed(old, data.get(name)):
                value = getattr(self.instance, name)
                data[name] = "" if value is None else str(value)


class SecondFactorForm(OTPAdminAuthenticationForm):
    """The login with a code, of the user's first device unless another one was chosen."""

    otp_error_messages = OTPAdminAuthenticationForm.otp_error_messages | {
        "token_required": "Enter the code of your authenticator app.",
        "invalid_token": "Wrong code, or a code that was used before. Enter the next one.",
    }

    def clean_otp(self, user: Any) -> None:
        devices = [device.persistent_id for device in devices_for_user(user)] if user else []
        if self.cleaned_data.get("otp_device") not in devices:
            self.cleaned_data["otp_device"] = devices[0] if devices else None
        # After a wrong code, the library waits: for long, if the clock was ahead then.
        now = timezone.now()
        late = TOTPDevice.objects.filter(user=user, throttling_failure_timestamp__gt=now)
        late.update(throttling_failure_timestamp=now)
        try:
            super().clean_otp(user)
        finally:
            # The library would write the password into the page.
            self.fields["password"].widget.render_value = False


class LeakedKeyForm(forms.Form):
    """A leaked key or signing secret to search for."""

    secret = forms.CharField(
        label="Key or signing secret",
        widget=forms.PasswordInput(attrs={"autocomplete": "off", "class": "vTextField"}),
        help_text="The complete secret. It is compared by its fingerprint and not stored.",
    )
