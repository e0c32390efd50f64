"""Charts as plain dictionaries for plotly.js; the page draws them in the browser, in the colours of
its theme."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64

from latentdrive.report.runs import Curve

BLUE, ORANGE, GREEN, RED, GREY, VIOLET = "#3b82f6", "#f59e0b", "#10b981", "#ef4444", "#94a3b8", "#8b5cf6"
# Colours of the series, in order.
PAINTS = (BLUE, ORANGE, GREEN, VIOLET, RED, GREY, "#14b8a6", "#ec4899", "#84cc16", "#a16207")
CURVE_PAINTS, GROUP_PAINTS = (BLUE, ORANGE, GREEN, VIOLET, RED, GREY), (BLUE, ORANGE, GREEN, VIOLET, GREY)
MOST_POINTS = 400  # most points drawn of a curve
MARKED_POINTS = 25  # a curve with fewer points gets a marker at each


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A chart with its caption, which says what is drawn and what would be good.

    wide: takes a whole row of the page. data, layout: those of plotly.
    """

    title: str
    caption: str
    data: list[dict[str, Any]]
    layout: dict[str, Any]
    wide: bool = False


def lines(title: str, caption: str, curves: Mapping[str, Curve], *, level: float | None = None) -> Chart:
    """Curves over training steps. level: a dashed line to compare with."""
    data = []
    for number, (name, (steps, values)) in enumerate(curves.items()):
        chosen = np.unique(np.linspace(0, len(steps) - 1, min(MOST_POINTS, len(steps))).astype(int))
        data.append(
            {
                "type": "scatter",
                "mode": "lines+markers" if len(chosen) < MARKED_POINTS else "lines",
                "name": name,
                "x": steps[chosen].tolist(),
                "y": _finite(values[chosen]),
                "line": {"color": CURVE_PAINTS[number % len(CURVE_PAINTS)], "width": 2},
            }
        )
    layout = {"xaxis": {"title": {"text": "step"}}, "yaxis": {"rangemode": "tozero"}, "showlegend": len(data) > 1}
    return Chart(title=title, caption=caption, data=data, layout=layout | _level(level, "y"))


def bars(
    title: str,
    caption: str,
    values: Mapping[str, float],
    *,
    level: float | None = None,
    good: str = "",
    percent: bool = False,
    within: Mapping[str, tuple[float, float]] | None = None,
    across: bool = False,
) -> Chart:
    """One bar for each name.

    level: a threshold, drawn dashed. good: `above` or `below` colours the bars by their side of the
    threshold. within: intervals by name. across: draw the bars horizontally, which leaves room for
    long names.
    """
    names, numbers = list(values), np.array(list(values.values()), float)
    paint: Any = BLUE
    if level is not None and good:
        paint = [GREEN if (value >= level) == (good == "above") else ORANGE for value in numbers]
    number, name = ("x", "y") if across else ("y", "x")
    form = ".0%" if percent else ".2f"
    data = {
        "type": "bar",
        "orientation": "h" if across else "v",
        name: names,
        number: _finite(numbers),
        "marker": {"color": paint},
        "texttemplate": f"%{{{number}:{form}}}",
        "textposition": "inside",
        "insidetextanchor": "start" if across else "end",
        "hovertemplate": f"%{{{name}}}: %{{{number}:{form}}}<extra></extra>",
    }
    if within:
        low, high = (np.array([within.get(key, (np.nan, np.nan))[side] for key in names]) for side in (0, 1))
        data[f"error_{number}"] = _whiskers(numbers, low, high)
    layout = {f"{number}axis": {"tickformat": form}, f"{name}axis": {"type": "category"}}
    if across:
        layout["yaxis"]["autorange"] = "reversed"
    return Chart(title=title, caption=caption, data=[data], layout=layout | _level(level, number))


def grouped_bars(
    title: str,
    caption: str,
    groups: Mapping[str, Sequence[float]],
    names: Sequence[str],
    *,
    level: float | None = None,
    percent: bool = False,
    wide: bool = False,
    within: Mapping[str, Sequence[tuple[float, float]]] | None = None,
    paints: Mapping[str, str] | None = None,
) -> Chart:
    """Several bars for each name. groups: values by group, in the order of the names.

    level: a threshold, drawn dashed. within: intervals by group, in the same order. paints: colours
    by group.
    """
    data: list[dict[str, Any]] = []
    for number, (group, values) in enumerate(groups.items()):
        paint = GROUP_PAINTS[number % len(GROUP_PAINTS)] if paints is None else paints[group]
        bar = {
            "type": "bar",
            "name": group,
            "x": list(names),
            "y": _finite(np.array(values)),
            "marker": {"color": paint},
        }
        if within is not None:
            bar["error_y"] = _whiskers(np.array(values, float), *np.array(within[group], float).T) | {"thickness": 1}
        data.append(bar)
    layout = {"barmode": "group", "yaxis": {"tickformat": ".0%" if percent else ".2f"}}
    return Chart(title=title, caption=caption, data=data, layout=layout | _level(level, "y"), wide=wide)


def points(
    title: str,
    caption: str,
    places: Mapping[str, tuple[float, tuple[float, float, float]]],
    *,
    levels: Mapping[str, float],
    across: str,
    up: str,
    paints: Mapping[str, str],
) -> Chart:
    """One point for each name over a logarithmic axis.

    places: x, and (mean, low, high) of y, by name. levels: dashed horizontal lines by name. across,
    up: titles of the axes. paints: colours by name.
    """
    data: list[dict[str, Any]] = []
    for name, (x, (mean, low, high)) in places.items():
        whiskers = _whiskers(*(np.array([value], float) for value in (mean, low, high)))
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": name,
                "x": [x],
                "y": [mean],
                "error_y": whiskers | {"color": paints[name], "thickness": 1.5},
                "marker": {"color": paints[name], "size": 11},
                "hovertemplate": f"%{{x:.3g}}, %{{y:.4f}}<extra>{name}</extra>",
            }
        )
    reach = [min(x for x, _ in places.values()) / 3, max(x for x, _ in places.values()) * 3]
    for name, level in levels.items():
        data.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": name,
                "x": reach,
                "y": [level, level],
                "line": {"color": paints[name], "width": 1.5, "dash": "dash"},
                "hovertemplate": f"%{{y:.4f}}<extra>{name}</extra>",
            }
        )
    axes = {
        "xaxis": {"title": {"text": across}, "type": "log", "range": np.log10(reach).tolist()} | _log_ticks(*reach),
        "yaxis": {"title": {"text": up}, "tickformat": ".2f"},
    }
    return Chart(title=title, caption=caption, data=data, layout=axes | {"showlegend": True}, wide=True)


def matrix(
    title: str,
    caption: str,
    values: Float64[np.ndarray, "rows columns"],
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    across: str,
    down: str,
    form: str = ".0%",
    low: float = 0.0,
    high: float | None = None,
    numbers: bool = False,
    wide: bool = False,
) -> Chart:
    """A table of numbers as colours, first row on top.

    across, down: titles of the axes. form: d3 format of the numbers. low, high: ends of the colour
    scale (high None: the largest value). numbers: write them into the cells as well.
    """
    cells = {
        "type": "heatmap",
        "z": [_finite(row) for row in np.asarray(values, float)],
        "x": list(columns),
        "y": list(rows),
        "zmin": low,
        "zmax": float(np.nanmax(values)) if high is None else high,
        "colorscale": "Blues",
        "reversescale": False,
        "showscale": not numbers,
        "xgap": 2,
        "ygap": 2,
        "colorbar": {"tickformat": form, "thickness": 12},
        "hovertemplate": f"{down} %{{y}}, {across} %{{x}}: %{{z:{form}}}<extra></extra>",
    }
    if numbers:
        cells |= {"texttemplate": f"%{{z:{form}}}"}
    axes = {
        "xaxis": {"title": {"text": across}, "type": "category", "side": "bottom"},
        "yaxis": {"title": {"text": down}, "type": "category", "autorange": "reversed"},
    }
    return Chart(title=title, caption=caption, data=[cells], layout=axes, wide=wide)


def _log_ticks(low: float, high: float) -> dict[str, Any]:
    """Powers of ten, and on a short axis 2 and 5 times these; plotly's own ticks would overlap
    there."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if len(powers) < 6 else (1,)
    values = [step * 10.0**power for power in powers for step in steps if low <= step * 10.0**power <= high]
    return {"tickvals": values, "ticktext": [f"{value:.6g}" for value in values]}


def _whiskers(
    middle: Float64[np.ndarray, "N"], low: Float64[np.ndarray, "N"], high: Float64[np.ndarray, "N"]
) -> dict[str, Any]:
    """Intervals as plotly's error bars; report.js gives them the theme's colour if they have
    none."""
    return {"type": "data", "symmetric": False, "array": _finite(high - middle), "arrayminus": _finite(middle - low)}


def _level(value: float | None, axis: str) -> dict[str, Any]:
    """The layout of a dashed line at a value of an axis; empty for None."""
    if value is None:
        return {}
    other = "x" if axis == "y" else "y"
    line = {"type": "line", f"{axis}ref": axis, f"{axis}0": value, f"{axis}1": value}
    ends = {f"{other}ref": "paper", f"{other}0": 0, f"{other}1": 1}
    return {"shapes": [line | ends | {"line": {"color": RED, "width": 1.5, "dash": "dash"}}]}


def _finite(values: Float64[np.ndarray, "N"]) -> list[float | None]:
    """Values to five digits, which is enough to draw them; None for what is not finite."""
    return [float(f"{value:.5g}") if np.isfinite(value) else None for value in values]
