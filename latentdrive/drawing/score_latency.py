"""The picture of scores against latency, as SVG text."""

from collections.abc import Mapping
from html import escape

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 640, 400, 70, 50, 30, 150


def score_latency_svg(points: Mapping[str, tuple[float, float]]) -> str:
    """A dot for each (p99 in milliseconds, PDMS), with its name."""
    most = 1.1 * max(p99 for p99, _ in points.values())
    low, high = min(s for _, s in points.values()), max(s for _, s in points.values())
    pad = max(0.02, 0.2 * (high - low))
    low, high = low - pad, high + pad

    def place(p99: float, score: float) -> tuple[float, float]:
        x = LEFT + p99 / most * (WIDTH - LEFT - RIGHT)
        return x, HEIGHT - BOTTOM - (score - low) / (high - low) * (HEIGHT - BOTTOM - TOP)

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif">']
    parts.append(f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>')
    corner, end, top = place(0.0, low), place(most, low), place(0.0, high)
    for x, y in (end, top):
        parts.append(f'<line x1="{corner[0]}" y1="{corner[1]}" x2="{x}" y2="{y}" stroke="black"/>')
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        x, y = place(share * most, low)
        parts.append(f'<text x="{x}" y="{y + 18}" font-size="11" text-anchor="middle">{share * most:.0f}</text>')
        x, y = place(0.0, low + share * (high - low))
        label = f"{low + share * (high - low):.3f}"
        parts.append(f'<text x="{x - 6}" y="{y + 4}" font-size="11" text-anchor="end">{label}</text>')
    parts.append(f'<text x="{LEFT}" y="{HEIGHT - 10}" font-size="12">p99 of one plan, milliseconds</text>')
    parts.append(f'<text x="8" y="{TOP - 10}" font-size="12">PDMS</text>')
    for name, point in points.items():
        x, y = place(*point)
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="#3366aa"/>')
        parts.append(f'<text x="{x + 9:.1f}" y="{y + 4:.1f}" font-size="12">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>", ""])
