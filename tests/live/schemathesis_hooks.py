"""What Schemathesis cannot read from the document."""

from typing import Any

import schemathesis
from hypothesis import strategies

IGNORED = {"bizId", "tenantBizId", "status", "statusName", "createdAt", "updatedAt", "extra"}

# Which hosts are public is a list of networks and names, and no JSON Schema.
schemathesis.openapi.format(
    "iri",
    strategies.sampled_from(
        ["https://partner.example.com/webhook", "https://bücher.example", "https://9.9.9.9/?a=b"]
    ),
)
# Nor is whether a text is JSON.
schemathesis.openapi.format(
    "json-object",
    strategies.sampled_from(["{}", '{"currency": "eur"}', ' {"a": [null, 1.5, {}]}\n']),
)


@schemathesis.hook
def before_load_schema(context: schemathesis.HookContext, raw_schema: dict[str, Any]) -> None:
    """Forget the three great lengths, and know the names that are ignored.

    To generate a text of 1,000 letters by its pattern takes minutes;
    `tests/stripe_connections/api/test_update_fields.py` tries them. The names of read-only fields
    are left out of the document so that generated clients do not offer them.
    """
    for schema in ("CreateConnection", "UpdateConnection", "SentBackConnection"):
        fields = raw_schema["components"]["schemas"][schema]["properties"]
        for name in ("connectionDescription", "partnerEndpoint", "configJson"):
            del fields[name]["maxLength"]
        # The limit holds after white space around the value was trimmed.
        shown = fields["connectionName"]
        shown["pattern"] = shown["pattern"].replace(r"^\s*", "^").replace(r"\s*$", "$")
        for name in IGNORED - fields.keys():
            fields[name] = {}
    for schema in ("UpdateConnection", "SentBackConnection"):
        # In words in the document, because few generators know these keywords.
        raw_schema["components"]["schemas"][schema] |= {
            "if": {
                "required": ["webhookSecretKeepSeconds"],
                "properties": {"webhookSecretKeepSeconds": {"minimum": 1}},
            },
            "then": {"required": ["webhookSecret"]},
        }
