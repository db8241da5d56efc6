"""Draw the ratios to the floor as a bar chart, and samples as lines, in SVG."""

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


LINE_COLOURS = ("#635bff", "#d9730d", "#9aa0a6")
PANEL_WIDTH, PANEL_HEIGHT = 320, 150
Series = dict[str, list[float | None]]


def lines_svg(
    title: str, times: list[float], panels: dict[str, Series], marks: list[tuple[float, str]]
) -> str:
    """Draw panels with lines over the minutes, two in a row; `marks` become vertical lines."""
    height = (len(panels) + 1) // 2 * PANEL_HEIGHT
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'font-family="sans-serif" font-size="10"><title>{title}</title>'
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>'
    )
    parts = [head]
    for number, (name, series) in enumerate(panels.items()):
        x, y = number % 2 * PANEL_WIDTH, number // 2 * PANEL_HEIGHT
        parts.append(f'<g transform="translate({x} {y})">')
        parts += [*_panel(name, times, series, marks), "</g>"]
    return "\n".join(parts) + "\n</svg>\n"


def _panel(
    name: str, times: list[float], series: Series, marks: list[tuple[float, str]]
) -> Iterator[str]:
    left, top, width, height = 40, 34, PANEL_WIDTH - 55, PANEL_HEIGHT - 52
    most = max(v for values in series.values() for v in values if v is not None) * 1.1 or 1
    end = max(times)
    yield f'<text x="{left}" y="14" font-weight="bold">{name}</text>'
    yield f'<path d="M{left} {top}v{height}h{width}" fill="none" stroke="#ccc"/>'
    yield f'<text x="{left - 4}" y="{top + 8}" text-anchor="end">{most:.3g}</text>'
    yield f'<text x="{left - 4}" y="{top + height}" text-anchor="end">0</text>'
    yield f'<text x="{left + width}" y="{top + height + 12}" text-anchor="end">{end:.0f} min</text>'
    for at, event in marks:
        colour = "#d33" if "PostgreSQL" in event else "#ddd"
        place = f"M{left + at / end * width:.1f} {top}v{height}"
        yield f'<path d="{place}" stroke="{colour}"><title>{event}</title></path>'
    for number, (label, values) in enumerate(series.items()):
        colour = LINE_COLOURS[number]
        yield f'<text x="{left + 90 * number}" y="28" fill="{colour}">{label}</text>'
        points = " ".join(
            f"{left + at / end * width:.1f},{top + height - value / most * height:.1f}"
            for at, value in zip(times, values, strict=True)
            if value is not None
        )
        yield f'<polyline points="{points}" fill="none" stroke="{colour}"/>'
