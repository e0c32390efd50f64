"""Small drawings of the ego codes in SVG, and pictures as data addresses: what plotly has no chart
for.

Pure functions from numbers to markup. The drawings use the classes of templates/report.css, and
`currentColor` for lines that do not have a code's colour, so that they suit light and dark screens.
"""

import base64
import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64, Int64, UInt8
from torchvision.io import encode_jpeg

FAN = 24  # thin lines in a fan
KEPT_FOR = 6  # transitions for which a fan keeps up a motion; one alone is too short to show a bend

# An arrow of the graph leads to at most ARROWS followers, each LEAST_LIFT times as frequent as by chance at least.
ARROWS, LEAST_LIFT, LEAST_SHARE = 2, 1.2, 0.03


def colour(code: int, codes: int) -> str:
    """A different colour for every code; neighbours differ in hue and lightness."""
    return f"hsl({360 * code / codes:.0f} 65% {(46, 60)[code % 2]}%)"


def picture(pixels: UInt8[np.ndarray, "3 H W"]) -> str:
    """A picture as a JPEG data address, about 3 kB."""
    data = encode_jpeg(torch.from_numpy(np.ascontiguousarray(pixels)), quality=80).numpy().tobytes()
    return "data:image/jpeg;base64," + base64.b64encode(data).decode()


def path_ahead(motion: Float64[np.ndarray, "3"], *, times: int = KEPT_FOR) -> Float64[np.ndarray, "T 2"]:
    """The path of a motion (dx, dy, dyaw) that is repeated `times` times: x forward, y left,
    metres, starting at 0, 0."""
    places, heading, here = [np.zeros(2)], 0.0, np.zeros(2)
    for _ in range(times):
        cos, sin = math.cos(heading), math.sin(heading)
        here = here + np.array([cos * motion[0] - sin * motion[1], sin * motion[0] + cos * motion[1]])
        heading += motion[2]
        places.append(here)
    return np.stack(places)


@dataclass(frozen=True, kw_only=True)
class View:
    """The scale that all fans of a page share, so that they can be compared.

    reach_m: metres from the car to the upper edge. stretch: how many times wider than true the fans
    are drawn, so that a gentle bend is visible.
    """

    reach_m: float
    stretch: float

    @classmethod
    def of(cls, motions: Float64[np.ndarray, "N 3"]) -> "View":
        """A view that contains nearly all of these motions."""
        ends = np.stack([path_ahead(motion)[-1] for motion in motions[:: max(1, len(motions) // 500)]])
        reach, aside = max(2.0, float(np.quantile(ends[:, 0], 0.98))), float(np.quantile(np.abs(ends[:, 1]), 0.98))
        return cls(reach_m=reach, stretch=float(np.clip(round(0.5 * reach / max(aside, 1e-6)), 1, 5)))


def fan(motions: Float64[np.ndarray, "N 3"], usual: Float64[np.ndarray, "3"], *, view: View, paint: str) -> str:
    """A fan of motions from above, each kept up for KEPT_FOR transitions: FAN thin lines, their
    mean as an arrow, and the usual motion dashed."""
    size, bottom = 150.0, 132.0
    scale = (bottom - 10) / view.reach_m

    def drawn(motion: np.ndarray) -> str:
        places = path_ahead(motion)
        return " ".join(f"{size / 2 - scale * view.stretch * y:.1f},{bottom - scale * x:.1f}" for x, y in places)

    picked = motions[np.linspace(0, len(motions) - 1, min(FAN, len(motions))).astype(int)]
    step = _round_step(view.reach_m / 3)
    marks = [
        f'<path d="M0 {bottom - scale * ahead:.1f}H{size}" class="mark"/>'
        f'<text x="{size - 2}" y="{bottom - scale * ahead - 2:.1f}" class="tick" text-anchor="end">{ahead:g} m</text>'
        for ahead in np.arange(step, view.reach_m, step)
    ]
    thin = [f'<polyline points="{drawn(m)}" fill="none" stroke="{paint}" opacity=".35"/>' for m in picked]
    mean = drawn(motions.mean(0))
    return (
        f'<svg viewBox="0 0 {size:g} {size:g}" class="fan" role="img" aria-label="paths of the car seen from above">'
        f'{"".join(marks)}<polyline points="{drawn(usual)}" class="usual"/>{"".join(thin)}'
        f'<polyline points="{mean}" fill="none" stroke="{paint}" stroke-width="3.5" stroke-linecap="round"/>'
        f"{_arrow_head(mean, paint)}"
        f'<rect x="{size / 2 - 4}" y="{bottom}" width="8" height="13" rx="2.5" class="car"/></svg>'
    )


def picture_motion(
    flow: Float64[np.ndarray, "2 down across"],
    usual: Float64[np.ndarray, "2 down across"],
    *,
    background: str,
    paint: str,
) -> str:
    """How the predicted picture moves, as arrows over a dimmed example. Thin lines: the usual
    motion.

    flow, usual: right and down, as shares of width and height. background: the example, as a data
    address.
    """
    wide, high, down, across = 160.0, 96.0, *flow.shape[1:]

    def arrows(field: np.ndarray, *, heads: bool) -> str:
        lines = []
        for row in range(down):
            for column in range(across):
                x, y = (column + 0.5) * wide / across, (row + 0.5) * high / down
                dx, dy = field[0, row, column] * wide, field[1, row, column] * high
                lines.append(f"M{x:.1f} {y:.1f}l{dx:.1f} {dy:.1f}")
                if heads and math.hypot(dx, dy) > 1.5:
                    for turn in (2.6, -2.6):
                        angle = math.atan2(dy, dx) + turn
                        lines.append(f"M{x + dx:.1f} {y + dy:.1f}l{3 * math.cos(angle):.1f} {3 * math.sin(angle):.1f}")
        return "".join(lines)

    return (
        f'<svg viewBox="0 0 {wide:g} {high:g}" class="flow" role="img" aria-label="motion of the predicted picture">'
        f'<image href="{background}" width="{wide:g}" height="{high:g}" preserveAspectRatio="none"/>'
        f'<rect width="{wide:g}" height="{high:g}" fill="#000" opacity=".45"/>'
        f'<path d="{arrows(usual, heads=False)}" stroke="#fff" stroke-width=".7" opacity=".5" fill="none"/>'
        f'<path d="{arrows(flow, heads=True)}" stroke="{paint}" stroke-width="1.5" fill="none" '
        'stroke-linecap="round"/></svg>'
    )


def code_graph(
    follows: Int64[np.ndarray, "K K"], across: Float64[np.ndarray, "K"] | None, up: Float64[np.ndarray, "K"] | None
) -> str:
    """Which code follows which: circles sized by frequency, arrows to what follows more often than
    by chance.

    across, up: values whose ranks place the codes from left to right and from bottom to top; None
    places them on a circle.
    """
    codes, counts = len(follows), follows.sum(1)
    used = np.flatnonzero(counts + follows.sum(0))
    places = np.zeros((codes, 2))
    known = across is not None and up is not None
    places[used] = _ranked_places(across[used], up[used]) if known else _circle_places(len(used))
    share = counts / max(1, counts.sum())
    chance = follows.sum(0) / max(1, follows.sum())
    after = follows / np.maximum(1, counts)[:, None]
    parts = []
    for code in np.flatnonzero(counts).tolist():
        lift = np.where(np.arange(codes) == code, 0.0, after[code] / np.maximum(chance, 1e-9))
        for follower in np.argsort(-after[code] * (lift > LEAST_LIFT))[:ARROWS].tolist():
            part = float(after[code, follower])
            if lift[follower] > LEAST_LIFT and part > LEAST_SHARE:
                parts.append(_curved_arrow(places[code], places[follower], part, colour(code, codes)))
    for code in used.tolist():
        x, y = places[code]
        radius = 9 + 23 * math.sqrt(share[code])
        parts.append(
            f'<g><circle cx="{x:.0f}" cy="{y:.0f}" r="{radius:.1f}" fill="{colour(code, codes)}" '
            f'stroke="currentColor" stroke-width="{1 + 5 * after[code, code]:.1f}"/>'
            f'<text x="{x:.0f}" y="{y + 4.5:.0f}" class="node">{code}</text>'
            f"<title>code {code}: {share[code]:.1%} of all; followed by itself {after[code, code]:.0%}</title></g>"
        )
    label = "which code follows which"
    return f'<svg viewBox="0 0 640 520" class="graph" role="img" aria-label="{label}">{"".join(parts)}</svg>'


def _ranked_places(across: np.ndarray, up: np.ndarray) -> Float64[np.ndarray, "K 2"]:
    """Places spread evenly by rank, so that codes with similar values do not overlap."""

    def rank(values: np.ndarray) -> np.ndarray:
        return np.argsort(np.argsort(values, kind="stable"), kind="stable") / max(1, len(values) - 1)

    return np.stack([50 + 540 * rank(across), 470 - 420 * rank(up)], 1)


def _circle_places(codes: int) -> Float64[np.ndarray, "K 2"]:
    angle = 2 * np.pi * np.arange(codes) / codes
    return np.stack([320 + 215 * np.sin(angle), 260 - 215 * np.cos(angle)], 1)


def _curved_arrow(start: np.ndarray, end: np.ndarray, share: float, paint: str) -> str:
    """An arrow that bends to one side, so that those to and fro do not overlap; the larger the share, the wider."""
    along = end - start
    length = max(1e-6, float(np.hypot(*along)))
    unit, aside = along / length, np.array([-along[1], along[0]]) / length
    tip, bend = end - unit * 24, (start + end) / 2 + aside * 0.16 * length
    into = (tip - bend) / max(1e-6, float(np.hypot(*(tip - bend))))
    base, beside = tip - 9 * into, 4.5 * np.array([-into[1], into[0]])
    left, right = base + beside, base - beside
    return (
        f'<g opacity=".75"><path d="M{start[0]:.0f} {start[1]:.0f}Q{bend[0]:.0f} {bend[1]:.0f} '
        f'{tip[0]:.0f} {tip[1]:.0f}" fill="none" stroke="{paint}" stroke-width="{1 + 9 * share:.1f}"/>'
        f'<path d="M{tip[0]:.1f} {tip[1]:.1f}L{left[0]:.1f} {left[1]:.1f}'
        f'L{right[0]:.1f} {right[1]:.1f}Z" fill="{paint}"/></g>'
    )


def _arrow_head(points: str, paint: str) -> str:
    """The head at the end of a polyline; a dot where the line has no length. points: as in its markup."""
    places = [np.array(list(map(float, pair.split(",")))) for pair in points.split()]
    tip, along = places[-1], places[-1] - places[-2]
    length = float(np.hypot(*along))
    if length < 0.5:
        return f'<circle cx="{tip[0]:.1f}" cy="{tip[1]:.1f}" r="4" fill="{paint}"/>'
    unit = along / length
    left, right = np.array([-unit[1], unit[0]]), np.array([unit[1], -unit[0]])
    corners = [tip + 6 * unit, tip - 3 * unit + 5 * left, tip - 3 * unit + 5 * right]
    return f'<polygon points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in corners)}" fill="{paint}"/>'


def _round_step(value: float) -> float:
    """The next number of 1, 2 or 5 times a power of ten that is at least `value`."""
    power = 10.0 ** math.floor(math.log10(max(value, 1e-6)))
    return next(k for k in (1, 2, 5, 10) if k * power >= value) * power
