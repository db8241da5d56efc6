"""Draw the ratios to the floor as a bar chart in SVG."""

from collections.abc import Iterator
from typing import Any

CHARTS = (
    ("app_cpu_ms", "Server CPU for each request, × the floor's (less is better)"),
    ("requests_per_second", "Requests a second, × the floor's (more is better)"),
)
COLOURS = {
    "floor": "#9aa0a6",
    "fastify": "#2e7d32",
    "product": "#635bff",
    "fastapi": "#00897b",
    "textbook": "#d9730d",
}
BAR, LEFT, WIDTH = 26, 90, 640


def svg(update: dict[str, Any]) -> str:
    """Return the chart for the result of `measure`."""
    lines = list(_charts(update["servers"]))
    height = len(CHARTS) * (len(update["servers"]) + 2) * BAR
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        'font-family="sans-serif" font-size="13"><title>The update call beside the floor</title>'
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>\n'
        + "\n".join(lines)
        + "\n</svg>\n"
    )


def _charts(servers: dict[str, Any]) -> Iterator[str]:
    y = 0
    for figure, title in CHARTS:
        ratios = {name: values["ratios"][figure] for name, values in servers.items()}
        scale = (WIDTH - LEFT - 60) / max(ratios.values())
        y += BAR
        yield f'<text x="10" y="{y}" font-weight="bold">{title}</text>'
        for name, ratio in ratios.items():
            width = ratio * scale
            yield f'<text x="10" y="{y + 23}">{name}</text>'
            yield (
                f'<rect x="{LEFT}" y="{y + 8}" width="{width:.0f}" height="{BAR - 6}" '
                f'fill="{COLOURS[name]}"/>'
            )
            yield f'<text x="{LEFT + width + 6:.0f}" y="{y + 23}">{ratio:.2f}</text>'
            y += BAR
        y += BAR
