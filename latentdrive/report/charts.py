"""Charts as plotly.js wants them: plain dictionaries. The page draws them in the browser, in the colours of its theme."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64

from latentdrive.report.runs import Curve

BLUE, ORANGE, GREEN, RED, GREY, VIOLET = "#3b82f6", "#f59e0b", "#10b981", "#ef4444", "#94a3b8", "#8b5cf6"
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
        data[f"error_{number}"] = {
            "type": "data", "symmetric": False, "array": _finite(high - numbers), "arrayminus": _finite(numbers - low),
        }  # fmt: skip
    layout = {f"{number}axis": {"tickformat": form}, f"{name}axis": {"type": "category"}}
    if across:
        layout["yaxis"]["autorange"] = "reversed"
    return Chart(title=title, says=says, data=[data], layout=layout | _level(level, number))


def grouped_bars(
    title: str, says: str, groups: Mapping[str, Sequence[float]], names: Sequence[str], *, level: float | None = None,
    percent: bool = False, wide: bool = False,
) -> Chart:  # fmt: skip
    """Several bars a name: groups → values by name."""
    paints = [BLUE, ORANGE, GREEN, VIOLET, GREY]
    data = [
        {
            "type": "bar",
            "name": group,
            "x": list(names),
            "y": _finite(np.array(values)),
            "marker": {"color": paints[i % 5]},
        }
        for i, (group, values) in enumerate(groups.items())
    ]
    layout = {"barmode": "group", "yaxis": {"tickformat": ".0%" if percent else ".2f"}}
    return Chart(title=title, says=says, data=data, layout=layout | _level(level, "y"), wide=wide)


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
