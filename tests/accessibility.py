"""What a page does to people who use a keyboard, a screen reader, or see little contrast."""

from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

# The rules of WCAG 2.2, levels A and AA.
WCAG = {
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"],
    "resultTypes": ["violations"],
    # It would load style sheets in a way that the policy for content forbids.
    "preload": False,
}


def violations(page: Page) -> list[tuple[str, str]]:
    """What axe-core finds: the rule, and the element that breaks it."""
    found: Any = Axe().run(page, options=WCAG).response["violations"]
    return [(rule["id"], node["html"]) for rule in found for node in rule["nodes"]]
