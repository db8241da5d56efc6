"""Check pages for accessibility with axe-core."""

from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

# The rules of WCAG 2.2, levels A and AA.
WCAG = {
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"],
    "resultTypes": ["violations"],
    # Preloading style sheets violates the content security policy.
    "preload": False,
}
# The rules that depend on the colours: the others are checked in the light scheme.
COLOURS = WCAG | {"runOnly": {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}}


def violations(page: Page, scheme: str) -> list[tuple[str, str]]:
    """Return the rules that the page violates, each with the HTML of the element."""
    rules = WCAG if scheme == "light" else COLOURS
    found: Any = Axe().run(page, options=rules).response["violations"]
    return [(rule["id"], node["html"]) for rule in found for node in rule["nodes"]]
