"""What Schemathesis cannot read from the document."""

from typing import Any

import schemathesis
from hypothesis import strategies

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
    """Forget the three great lengths: to make a text of 1,000 letters by its pattern takes minutes.

    `tests/stripe_connections/api/test_update_fields.py` tries them; other limits stay.
    """
    for schema in ("CreateConnection", "UpdateConnection", "SentBackConnection"):
        fields = raw_schema["components"]["schemas"][schema]["properties"]
        for name in ("connectionDescription", "partnerEndpoint", "configJson"):
            del fields[name]["maxLength"]
