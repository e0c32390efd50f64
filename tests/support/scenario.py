"""Scenario files made on the spot: straight lanes, an ego that accelerates evenly, a few others."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from latentdrive.data.scenarios.scene_source import ScenarioLogs

OPTIONS = {"future_frames": 8, "ego_ahead_m": 0.0, "command": "unknown", "max_unreadable": 0.0}


def lane(points: list, *, width: float | None = 4.0, **more) -> dict[str, Any]:
    """A lane feature about a straight centre line (first point to last); without a polygon where width is None."""
    line = np.array(points, float)
    feature: dict[str, Any] = {"type": "LANE_SURFACE_STREET", "polyline": [tuple(point) for point in line]}
    if width is not None:
        way = line[-1] - line[0]
        left = np.array([-way[1], way[0]]) / np.linalg.norm(way) * width / 2
        ring = [line[0] + left, line[-1] + left, line[-1] - left, line[0] - left, line[0] + left]
        feature["polygon"] = [list(point) for point in ring]
    return feature | more


def along(start: tuple[float, float], end: tuple[float, float]) -> list:
    """Points a metre apart."""
    count = round(float(np.hypot(end[0] - start[0], end[1] - start[1]))) + 1
    return np.linspace(start, end, count).tolist()


def track(
    kind: str, position, *, heading=0.0, velocity=(0.0, 0.0), size=(4.5, 1.8, 1.5), valid=None, source=""
) -> dict:
    """A track over the rows of `position`; rows that are not valid are NaN."""
    position = np.array(position, float)
    rows = len(position)
    valid = np.ones(rows, bool) if valid is None else np.array(valid, bool)
    state = {
        "position": np.column_stack([position, np.full(rows, 0.9)]),
        "heading": np.broadcast_to(np.array(heading, float), (rows,)).copy(),
        "velocity": np.broadcast_to(np.array(velocity, float), (rows, 2)).copy(),
    }
    for array in state.values():
        array[~valid] = np.nan
    state["valid"] = valid.astype(float)
    state |= {name: np.full((rows, 1), value) for name, value in zip(("length", "width", "height"), size)}
    return {"type": kind, "state": state, "metadata": {"type": source}}


def scenario(name: str = "made", *, seconds: float = 10.0, features: dict | None = None) -> dict[str, Any]:
    """An ego that starts at the origin with 8 m/s and gains 1 m/s each second, on a lane along x."""
    times = np.arange(round(seconds * 10) + 1) / 10
    x = 8 * times + times**2 / 2
    ego = track("VEHICLE", np.column_stack([x, 0 * x]), size=(1.73, 4.08, 1.56))
    return {
        "id": name,
        "length": len(times),
        "metadata": {"ts": times, "sdc_id": "ego", "map": "somewhere", "coordinate": "right-handed"},
        "tracks": {"ego": ego},
        "map_features": features or {"A": lane(along((-10, 0), (200, 0)))},
        "dynamic_map_states": {},
    }


TURN = {  # straight on along C1, or left along C2 into D
    "A": lane(along((0, 0), (60, 0))),
    "C1": lane(along((60, 0), (80, 0)), width=None),
    "B": lane(along((80, 0), (140, 0))),
    "C2": lane(
        [(60 + 20 * np.sin(t), 20 * (1 - np.cos(t))) for t in np.linspace(0, np.pi / 2, 32)],
        width=None,
    ),
    "D": lane(along((80, 20), (80, 70))),
}


def turning(*, ahead_m: float = 0.0) -> dict:
    """A scenario along A, C2 and D at 8 m/s; the ego's recorded position lies `ahead_m` ahead of its rear axle."""
    content = scenario(features=TURN)
    way = 8 * content["metadata"]["ts"] + 20
    angle = np.clip((way - 60) / 20, 0, np.pi / 2)
    x = np.where(way < 60, way, 60 + 20 * np.sin(angle)) + ahead_m * np.cos(angle)
    y = 20 * (1 - np.cos(angle)) + np.maximum(0, way - 60 - 10 * np.pi) + ahead_m * np.sin(angle)
    content["tracks"]["ego"] = track("VEHICLE", np.column_stack([x, y]), heading=angle)
    return content


def write_scenario(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content))
    return path


def logs(path: Path, **changed) -> ScenarioLogs:
    """ScenarioLogs with the options of these tests."""
    return ScenarioLogs(path=path, **(OPTIONS | changed))
