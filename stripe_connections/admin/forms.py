"""What staff type: the same rules, and the same words about them, as in the update call."""

import json
import math
import uuid
from typing import Any, ClassVar, cast

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.http import QueryDict

from config.web_chain.exceptions import InvalidFieldsError
from stripe_connections.audit import history
from stripe_connections.audit.history import Entry
from stripe_connections.models import SECRET_FIELDS, Status, StripeConnection
from stripe_connections.secrets.keyring import keyring
from stripe_connections.stripe_api import verification
from stripe_connections.stripe_api.replies import Reply
from stripe_connections.stripe_api.verification import (
    TooManyAttemptsError,
    VerificationError,
    VerificationUnavailableError,
)
from stripe_connections.validation.serializers import API_NAMES, ChangesSerializer

CONFLICT = (
    "This connection was changed after you opened it, so nothing was saved. What you typed is "
    "still here, except for secrets; what you left alone shows the values of now. Look at the "
    "changes above, then save again."
)
TOO_MANY = "Too many requests to Stripe for this workspace or about this key. Nothing was saved."
UNAVAILABLE = "The key could not be checked, so nothing was saved. A secret must be typed again."
CONFIRM = "Type it again and tick the box below if this is meant."
STORED_IS_REJECTED = (
    "Stripe rejects the stored API key, so the account cannot be checked: type a new key with it."
)
REQUIRED = ("connection_name",)
AGAIN = "Type it again: what was typed is never shown."
KEEP = "Leave empty to keep the stored one."


class TextField(forms.CharField):
    """A text as it was typed; the form has it judged, together with the others.

    Without the carriage returns that a browser adds to every line of a text area.
    """

    def __init__(self, label: str, widget: forms.Widget, **kwargs: Any) -> None:
        super().__init__(label=label, widget=widget, required=False, strip=False, **kwargs)

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


class ConnectionForm(forms.ModelForm):
    """A connection to change or to add; `services.py` saves it.

    `reply` is what Stripe said about a new key or account.
    """

    reply: Reply | TooManyAttemptsError = Reply()

    # The version that is shown: whoever saves has seen this one.
    seen_version = forms.IntegerField(widget=forms.HiddenInput, required=False)
    form_id = forms.CharField(widget=forms.HiddenInput, required=False)
    connection_name = TextField("Name", _line())
    connection_description = TextField("Description", _area(3), empty_value=None)
    stripe_account_id = TextField("Stripe account ID", _line(), empty_value=None)
    api_key = TextField("New API key", _secret(), help_text=KEEP)
    # Hidden until somebody has typed such a key.
    allow_mode_change = forms.BooleanField(
        label="Live and test are swapped on purpose", required=False, widget=forms.HiddenInput
    )
    webhook_secret = TextField("New webhook secret", _secret(), help_text=KEEP)
    partner_endpoint = TextField("Partner endpoint", _line("vLargeTextField"), empty_value=None)
    config_json = TextField("Configuration", _area(8), empty_value=None)

    class Meta:
        model = StripeConnection
        fields: ClassVar = ["workspace", "status"]  # besides those above; the admin says which
        # The initial value of a field is read from the instance, and reading these decrypts.
        exclude: ClassVar = [*SECRET_FIELDS]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial["seen_version"] = self.instance.version
        self.initial["form_id"] = uuid.uuid4().hex
        self.conflict: list[Entry] = []
        if self.instance.pk is None:
            for name in self.fields.keys() & {*SECRET_FIELDS}:
                self.fields[name].help_text = ""

    def clean(self) -> dict[str, Any]:
        """Judge what was changed, and refuse to save over what somebody else changed meanwhile."""
        data = super().clean() or self.cleaned_data
        self.changes = self._judged()
        if settings.STRIPE_VERIFY:
            self._apply_reply()
        seen = data.get("seen_version")
        if self.instance.pk and seen != self.instance.version and not self._is_stored():
            records = history.records_since(self.instance, seen or 0)
            self.conflict = [Entry.of(record) for record in records]
            self._keep_what_was_typed(
                # Read from the newest to the oldest: what is left are the oldest's values.
                {name: old for record in records for name, (old, _) in record.changes.items()}
            )
            raise ValidationError(CONFLICT, code="conflict")
        return data

    def creation_key(self) -> str | None:
        """The same whenever this form is posted with the same values."""
        form_id = self.cleaned_data.get("form_id")
        values = json.dumps(self.changes, sort_keys=True)
        return f"{form_id} {keyring().fingerprint(values)}" if form_id else None

    def _is_stored(self) -> bool:
        """Whether this form was saved already: by a double click, for one.

        A secret that was typed is compared by its fingerprint.
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

    def _judged(self) -> dict[str, Any]:
        """What was changed, as the update call would take it; what it refuses is an error.

        What was not changed is not judged: staff can mend one thing in a row that has another one
        which today's rules refuse. An input that was emptied is null where the call takes null.
        """
        judged = {*self.changed_data} if self.instance.pk else {*self.changed_data, *REQUIRED}
        names = [name for name in API_NAMES if name in judged & self.cleaned_data.keys()]
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
        # Trimmed, a value may be the stored one. Of a secret nobody knows.
        return {name: v for name, v in changes.items() if v != self.initial.get(name)}

    @property
    def is_mode_confirmed(self) -> bool:
        """Whether a live key may take a test key's place, and the other way round."""
        return bool(self.cleaned_data.get("allow_mode_change"))

    def _apply_reply(self) -> None:
        """Refuse what Stripe's reply rules out, and ask for a confirmation of a new mode."""
        if self.is_mode_confirmed:
            self._show_confirmation()
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
            self._show_confirmation()
            self.add_error(error.field, f"{error.message} {CONFIRM}")
        elif error.field == "api_key" and "api_key" not in self.changes:
            # The stored key was verified, and there may be no input for another.
            self.add_error("stripe_account_id", STORED_IS_REJECTED)
        else:
            self.add_error(error.field, error.message)

    def _show_confirmation(self) -> None:
        self.fields["allow_mode_change"].widget = forms.CheckboxInput()

    def _post_clean(self) -> None:
        """Leave the instance alone: the rules have been applied, and the door does the rest.

        An input that the next page has to show empty must not pass for one that was left empty.
        """
        for name in self.fields.keys() & {*SECRET_FIELDS}:
            if self.errors and self.data.get(name):
                # The bound field has read the other's text already.
                self[name].help_text = f"{AGAIN} {self[name].help_text}".strip()

    def _keep_what_was_typed(self, before: dict[str, Any]) -> None:
        """Show the values of now in the inputs that still hold the ones `before` the conflict."""
        self.data = data = cast("QueryDict", self.data).copy()
        data["seen_version"] = str(self.instance.version)
        for name, old in before.items():
            field = self.fields.get(name)
            if name not in SECRET_FIELDS and field and not field.has_changed(old, data.get(name)):
                value = getattr(self.instance, name)
                data[name] = "" if value is None else str(value)


class LeakedKeyForm(forms.Form):
    """A key or signing secret that was found somewhere."""

    secret = forms.CharField(
        label="Key or signing secret",
        widget=forms.PasswordInput(attrs={"autocomplete": "off", "class": "vTextField"}),
        help_text="The whole of it. It is compared by its fingerprint and kept nowhere.",
    )
