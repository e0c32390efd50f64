"""Charts as plotly.js wants them: plain dictionaries. The page draws them in the browser, in the colours of its theme."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64

from latentdrive.report.runs import Curve

BLUE, ORANGE, GREEN, RED, GREY, VIOLET = "#3b82f6", "#f59e0b", "#10b981", "#ef4444", "#94a3b8", "#8b5cf6"
PAINTS = (BLUE, ORANGE, GREEN, VIOLET, RED, GREY, "#14b8a6", "#ec4899", "#84cc16", "#a16207")  # in turn
MOST_POINTS = 400  # of a drawn curve


@dataclass(frozen=True, kw_only=True)
class Chart:
    """title, and in plain words what one sees and what would be good. wide: takes a whole row. data, layout: plotly's."""

    title: str
    says: str
    data: list[dict[str, Any]]
    layout: dict[str, Any]
    wide: bool = False


def lines(title: str, says: str, curves: Mapping[str, Curve], *, below: float | None = None) -> Chart:
    """Curves over training steps. below: a dashed level to compare with."""
    paints = [BLUE, ORANGE, GREEN, VIOLET, RED, GREY]
    data = []
    for number, (name, (steps, values)) in enumerate(curves.items()):
        kept = np.unique(np.linspace(0, len(steps) - 1, min(MOST_POINTS, len(steps))).astype(int))
        few = len(kept) < 25
        data.append({
            "type": "scatter", "mode": "lines+markers" if few else "lines", "name": name, "x": steps[kept].tolist(),
            "y": _finite(values[kept]), "line": {"color": paints[number % len(paints)], "width": 2},
        })  # fmt: skip
    layout = {"xaxis": {"title": {"text": "step"}}, "yaxis": {"rangemode": "tozero"}, "showlegend": len(data) > 1}
    return Chart(title=title, says=says, data=data, layout=layout | _level(below, "y"))


def bars(
    title: str, says: str, values: Mapping[str, float], *, level: float | None = None, good: str = "", percent: bool = False,
    within: Mapping[str, tuple[float, float]] | None = None, across: bool = False,
) -> Chart:  # fmt: skip
    """One bar a name. level: a threshold as a dashed line; good: `above` or `below` colours bars by the side they are on.

    within: intervals by name. across: bars lie, for names that are sentences.
    """
    names, numbers = list(values), np.array(list(values.values()), float)
    paint: Any = BLUE
    if level is not None and good:
        paint = [GREEN if (value >= level) == (good == "above") else ORANGE for value in numbers]
    number, name = ("x", "y") if across else ("y", "x")
    form = ".0%" if percent else ".2f"
    data = {
        "type": "bar", "orientation": "h" if across else "v", name: names, number: _finite(numbers), "marker": {"color": paint},
        "texttemplate": f"%{{{number}:{form}}}", "textposition": "inside", "insidetextanchor": "start" if across else "end",
        "hovertemplate": f"%{{{name}}}: %{{{number}:{form}}}<extra></extra>",
    }  # fmt: skip
    if within:
        low, high = (np.array([within.get(key, (np.nan, np.nan))[side] for key in names]) for side in (0, 1))
        data[f"error_{number}"] = _whiskers(numbers, low, high)
    layout = {f"{number}axis": {"tickformat": form}, f"{name}axis": {"type": "category"}}
    if across:
        layout["yaxis"]["autorange"] = "reversed"
    return Chart(title=title, says=says, data=[data], layout=layout | _level(level, number))


def grouped_bars(
    title: str, says: str, groups: Mapping[str, Sequence[float]], names: Sequence[str], *, level: float | None = None,
    percent: bool = False, wide: bool = False, within: Mapping[str, Sequence[tuple[float, float]]] | None = None,
    paints: Mapping[str, str] | None = None,
) -> Chart:  # fmt: skip
    """Several bars a name: groups → values by name. within: intervals by group and name; paints: colours by group."""
    usual = [BLUE, ORANGE, GREEN, VIOLET, GREY]
    data: list[dict[str, Any]] = []
    for number, (group, values) in enumerate(groups.items()):
        paint = usual[number % len(usual)] if paints is None else paints[group]
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
    return Chart(title=title, says=says, data=data, layout=layout | _level(level, "y"), wide=wide)


def points(
    title: str, says: str, places: Mapping[str, tuple[float, tuple[float, float, float]]], *, levels: Mapping[str, float],
    across: str, up: str, paints: Mapping[str, str],
) -> Chart:  # fmt: skip
    """One point a name over a logarithmic axis: x, and y with the ends of its interval. levels: dashed lines by name; paints: colours."""
    data: list[dict[str, Any]] = []
    for name, (x, (mean, low, high)) in places.items():
        whiskers = _whiskers(*(np.array([value], float) for value in (mean, low, high)))
        data.append({
            "type": "scatter", "mode": "markers", "name": name, "x": [x], "y": [mean],
            "error_y": whiskers | {"color": paints[name], "thickness": 1.5},
            "marker": {"color": paints[name], "size": 11}, "hovertemplate": f"%{{x:.3g}}, %{{y:.4f}}<extra>{name}</extra>",
        })  # fmt: skip
    reach = [min(x for x, _ in places.values()) / 3, max(x for x, _ in places.values()) * 3]
    for name, level in levels.items():
        data.append({
            "type": "scatter", "mode": "lines", "name": name, "x": reach, "y": [level, level],
            "line": {"color": paints[name], "width": 1.5, "dash": "dash"}, "hovertemplate": f"%{{y:.4f}}<extra>{name}</extra>",
        })  # fmt: skip
    axes = {
        "xaxis": {"title": {"text": across}, "type": "log", "range": np.log10(reach).tolist()} | _log_ticks(*reach),
        "yaxis": {"title": {"text": up}, "tickformat": ".2f"},
    }
    return Chart(title=title, says=says, data=data, layout=axes | {"showlegend": True}, wide=True)


def matrix(
    title: str, says: str, values: Float64[np.ndarray, "rows columns"], *, rows: Sequence[str], columns: Sequence[str],
    across: str, down: str, form: str = ".0%", low: float = 0.0, high: float | None = None, numbers: bool = False,
    wide: bool = False,
) -> Chart:  # fmt: skip
    """A table of numbers as colours, first row on top. numbers: write them in the cells too."""
    cells = {
        "type": "heatmap", "z": [_finite(row) for row in np.asarray(values, float)], "x": list(columns), "y": list(rows),
        "zmin": low, "zmax": float(np.nanmax(values)) if high is None else high, "colorscale": "Blues", "reversescale": False,
        "showscale": not numbers, "xgap": 2, "ygap": 2, "colorbar": {"tickformat": form, "thickness": 12},
        "hovertemplate": f"{down} %{{y}}, {across} %{{x}}: %{{z:{form}}}<extra></extra>",
    }  # fmt: skip
    if numbers:
        cells |= {"texttemplate": f"%{{z:{form}}}"}
    axes = {
        "xaxis": {"title": {"text": across}, "type": "category", "side": "bottom"},
        "yaxis": {"title": {"text": down}, "type": "category", "autorange": "reversed"},
    }
    return Chart(title=title, says=says, data=[cells], layout=axes, wide=wide)


def _log_ticks(low: float, high: float) -> dict[str, Any]:
    """Powers of ten, and where there are few of them 2 and 5 times these: plotly's own overlap on a short axis."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if len(powers) < 6 else (1,)
    values = [step * 10.0**power for power in powers for step in steps if low <= step * 10.0**power <= high]
    return {"tickvals": values, "ticktext": [f"{value:.6g}" for value in values]}


def _whiskers(
    middle: Float64[np.ndarray, "N"], low: Float64[np.ndarray, "N"], high: Float64[np.ndarray, "N"]
) -> dict[str, Any]:
    """An interval as plotly draws it; report.js gives it the theme's colour where it has none."""
    return {"type": "data", "symmetric": False, "array": _finite(high - middle), "arrayminus": _finite(middle - low)}


def _level(value: float | None, axis: str) -> dict[str, Any]:
    if value is None:
        return {}
    other = "x" if axis == "y" else "y"
    line = {"type": "line", f"{axis}ref": axis, f"{axis}0": value, f"{axis}1": value}
    line |= {
        f"{other}ref": "paper",
        f"{other}0": 0,
        f"{other}1": 1,
        "line": {"color": RED, "width": 1.5, "dash": "dash"},
    }
    return {"shapes": [line]}


def _finite(values: Float64[np.ndarray, "N"]) -> list[float | None]:
    """Five digits are enough to draw; what is not finite is left out."""
    return [float(f"{value:.5g}") if np.isfinite(value) else None for value in values]
