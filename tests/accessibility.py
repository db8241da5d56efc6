"""Check pages for accessibility with axe-core."""

from typing import Any

from axe_playwright_python.base import AXE_SCRIPT
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
# Otherwise a link has a mixed colour for a moment after the change of the scheme.
STILL = """() => {
    const sheet = new CSSStyleSheet();
    sheet.replaceSync("* { transition: none !important }");
    document.adoptedStyleSheets.push(sheet);
}"""
# Only what the tests read, because the rest is much longer.
RUN = """options => axe.run(options).then(found => found.violations.flatMap(
    rule => rule.nodes.map(node => [rule.id, node.html])))"""


def violations(page: Page) -> dict[str, Any]:
    """Return the rules that the page violates in each colour scheme, with the HTML of the element.

    A scheme without violations is left out.
    """
    page.evaluate(AXE_SCRIPT)
    page.evaluate(STILL)
    found = {}
    for scheme, rules in (("dark", COLOURS), ("light", WCAG)):
        page.emulate_media(color_scheme=scheme)
        found[scheme] = page.evaluate(RUN, rules)
    return {scheme: problems for scheme, problems in found.items() if problems}
