"""What staff type: the same rules, and the same words about them, as in the update call."""

from typing import Any, ClassVar, cast

from django import forms
from django.core.exceptions import ValidationError
from django.forms.boundfield import BoundField
from django.http import QueryDict

from config.web_chain.serializers import StrictCharField
from stripe_connections.admin import history
from stripe_connections.admin.history import Entry
from stripe_connections.models import SECRET_FIELDS, StripeConnection
from stripe_connections.serializers import UpdateConnectionSerializer
from stripe_connections.services import UPDATABLE_FIELDS

CONFLICT = (
    "This connection was changed after you opened it, so nothing was saved. What you typed is "
    "still here, except for secrets; what you left alone shows the values of now. Look at the "
    "changes above, then save again."
)


class ApiField(forms.CharField):
    """An input that a field of the update call judges, messages and trimming included.

    What was not changed is not judged: staff can mend one thing in a row that has another one
    which today's rules refuse. An input that was emptied is null where the call takes null.
    """

    def __init__(self, name: str, **kwargs: Any) -> None:
        self.rule = cast("StrictCharField", UpdateConnectionSerializer().fields[name])
        super().__init__(strip=False, **kwargs)

    def clean(self, value: str) -> str | None:
        value = _lines(value)
        return self.rule.run_validation(None if not value and self.rule.allow_null else value)

    def has_changed(self, initial: Any, data: Any) -> bool:
        return self._comparable(initial) != self._comparable(data)

    def _clean_bound_field(self, bf: BoundField) -> Any:
        # Django's own hook between a form and the `clean` of a field, as a disabled field uses.
        is_new = cast("ConnectionForm", bf.form).instance.pk is None
        unchanged = not is_new and not self.has_changed(bf.initial, bf.data)
        return bf.initial if unchanged else self.clean(bf.data)

    def _comparable(self, value: str | None) -> str:
        text = _lines(value)
        return text.strip() if self.rule.trim_whitespace else text


class SecretField(ApiField):
    """A secret can be typed and never read; nothing typed means that the stored one stays."""

    widget = forms.PasswordInput(attrs={"autocomplete": "new-password", "class": "vTextField"})

    def __init__(self, name: str, label: str) -> None:
        keep = "Leave empty to keep the stored one."
        super().__init__(name, label=label, required=False, help_text=keep)

    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool(data)

    def _clean_bound_field(self, bf: BoundField) -> Any:
        return self.clean(bf.data) if bf.data else None


def _lines(value: str | None) -> str:
    """Without the carriage returns that a browser adds to every line of a text area."""
    return (value or "").replace("\r\n", "\n")


def _line(width: str = "vTextField") -> forms.TextInput:
    return forms.TextInput(attrs={"class": width})


def _area(rows: int) -> forms.Textarea:
    return forms.Textarea(attrs={"class": "vLargeTextField", "rows": rows})


class ConnectionForm(forms.ModelForm):
    """A connection to change or to add; the door saves it."""

    # The version that is shown: whoever saves has seen this one.
    seen_version = forms.IntegerField(widget=forms.HiddenInput, required=False)
    connection_name = ApiField("connectionName", label="Name", widget=_line())
    connection_description = ApiField(
        "connectionDescription", label="Description", widget=_area(3), required=False
    )
    stripe_account_id = ApiField(
        "stripeAccountId", label="Stripe account ID", widget=_line(), required=False
    )
    api_key = SecretField("apiKey", "New API key")
    webhook_secret = SecretField("webhookSecret", "New webhook secret")
    partner_endpoint = ApiField("partnerEndpoint", widget=_line("vLargeTextField"), required=False)
    config_json = ApiField("configJson", label="Configuration", widget=_area(8), required=False)

    class Meta:
        model = StripeConnection
        fields: ClassVar = ["workspace", "status"]  # besides those above; the admin says which
        # The initial value of a field is read from the instance, and reading these decrypts.
        exclude: ClassVar = [*SECRET_FIELDS]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial["seen_version"] = self.instance.version
        self.conflict: list[Entry] = []
        if self.instance.pk is None:
            for name in self.fields.keys() & {*SECRET_FIELDS}:
                self.fields[name].help_text = ""

    @property
    def changes(self) -> dict[str, Any]:
        """What was changed, from field name to value, as the door takes it."""
        return {
            name: self.cleaned_data[name] for name in self.changed_data if name in UPDATABLE_FIELDS
        }

    def clean(self) -> dict[str, Any]:
        """Refuse to save over what somebody else changed meanwhile."""
        data = super().clean() or self.cleaned_data
        seen = data.get("seen_version")
        if self.instance.pk and seen != self.instance.version:
            records = history.records_since(self.instance, seen or 0)
            self.conflict = [Entry.of(record) for record in records]
            self._keep_what_was_typed(
                # Read from the newest to the oldest: what is left are the oldest's values.
                {name: old for record in records for name, (old, _) in record.changes.items()}
            )
            raise ValidationError(CONFLICT, code="conflict")
        return data

    def _post_clean(self) -> None:
        """Leave the instance alone: the rules have been applied, and the door does the rest."""

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
