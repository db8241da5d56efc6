"""Hooks that tell Schemathesis what the document does not contain."""

from typing import Any

import schemathesis
from hypothesis import strategies

IGNORED = {"bizId", "tenantBizId", "status", "statusName", "createdAt", "updatedAt", "extra"}

# JSON Schema cannot express which hosts are public.
schemathesis.openapi.format(
    "iri",
    strategies.sampled_from(
        ["https://partner.example.com/webhook", "https://bücher.example", "https://9.9.9.9/?a=b"]
    ),
)
# JSON Schema cannot express that a text is JSON.
schemathesis.openapi.format(
    "json-object",
    strategies.sampled_from(["{}", '{"currency": "eur"}', ' {"a": [null, 1.5, {}]}\n']),
)


@schemathesis.hook
def before_load_schema(context: schemathesis.HookContext, raw_schema: dict[str, Any]) -> None:
    """Remove three maximum lengths, and add the ignored fields.

    It takes minutes to generate a text of 1,000 characters from a pattern;
    `tests/stripe_connections/api/test_update_fields.py` tests these lengths. The document does not
    list the read-only fields, so that generated clients do not offer them.
    """
    for schema in ("CreateConnection", "UpdateConnection", "SentBackConnection"):
        fields = raw_schema["components"]["schemas"][schema]["properties"]
        for name in ("connectionDescription", "partnerEndpoint", "configJson"):
            del fields[name]["maxLength"]
        # The limit applies after surrounding white space was removed.
        shown = fields["connectionName"]
        shown["pattern"] = shown["pattern"].replace(r"^\s*", "^").replace(r"\s*$", "$")
        for name in IGNORED - fields.keys():
            fields[name] = {}
    for schema in ("UpdateConnection", "SentBackConnection"):
        # The document only describes this rule, because few generators support these keywords.
        raw_schema["components"]["schemas"][schema] |= {
            "if": {
                "required": ["webhookSecretKeepSeconds"],
                "properties": {"webhookSecretKeepSeconds": {"minimum": 1}},
            },
            "then": {"required": ["webhookSecret"]},
        }
