"""Other road users and traffic lights in nuPlan's classes, read from the stand-ins in a pickle.

Only synthetic.py needs this, because logs hold plain arrays. Attributes are those of nuplan-devkit
v1.2, which names some of them with a leading underscore.
"""

from typing import Any

import numpy as np

from latentdrive.data.navsim.frames import OBJECT_NAMES
from latentdrive.data.pickles.names import StandIn
from latentdrive.types import TrackedObjects

RED = 2  # nuPlan's TrafficLightStatusType
EGO = 7  # nuPlan's TrackedObjectType; all other types are numbered as in OBJECT_NAMES


class NotNuplan(ValueError):
    """The content of a pickle is not built as nuPlan's classes are."""


def detected_objects(detections: Any) -> TrackedObjects:
    """A DetectionsTracks in the global frame, without its own ego. Raises NotNuplan for anything else.

    nuPlan's boxes have no height above the ground: centre_z_m is 0. A velocity that is not finite is
    NaN. Any other number that is not finite raises NotNuplan.
    """
    objects = _required(_required(detections, "tracked_objects"), "tracked_objects")
    if not isinstance(objects, list | tuple):
        raise NotNuplan(f"tracked_objects is {_kind(objects)}, expected a list")
    kinds = [_enum_value(_required(item, "tracked_object_type")) for item in objects]
    others = [(item, kind) for item, kind in zip(objects, kinds) if kind != EGO]
    if unknown := {kind for _, kind in others} - {*range(len(OBJECT_NAMES))}:
        raise NotNuplan(f"there is no type {unknown.pop()} of tracked objects")
    rows = np.array([_row(item) for item, _ in others], np.float64).reshape(-1, 8)
    return TrackedObjects(
        poses=rows[:, :3],
        centre_z_m=np.zeros(len(rows)),
        sizes=rows[:, 3:6],
        velocity=rows[:, 6:],
        names=tuple(OBJECT_NAMES[kind] for _, kind in others),
        tracks=tuple(_track(item) for item, _ in others),
    )


def light_states(statuses: Any) -> tuple[tuple[str, bool], ...]:
    """A TrafficLightStatuses, or the list in it, as (lane connector, is red). Raises NotNuplan for anything else."""
    entries = statuses if isinstance(statuses, list | tuple) else _required(statuses, "traffic_lights")
    if not isinstance(entries, list | tuple):
        raise NotNuplan(f"traffic_lights is {_kind(entries)}, expected a list")
    return tuple(
        (str(_required(light, "lane_connector_id")), _enum_value(_required(light, "status")) == RED)
        for light in entries
    )


def _row(item: Any) -> list[float]:
    """x, y, heading, length, width, height, vx, vy of one object; static objects have no velocity."""
    box = _required(item, "box")
    centre, velocity = _required(box, "center"), _optional(item, "velocity")
    values = [
        *(_required(centre, name) for name in ("x", "y", "heading")),
        *(_required(box, name) for name in ("length", "width", "height")),
        *((0.0, 0.0) if velocity is None else (_required(velocity, name) for name in ("x", "y"))),
    ]
    try:
        row = [float(value) for value in values]
    except (TypeError, ValueError):
        raise NotNuplan(f"an attribute of object {_track(item)} is no number") from None
    if not np.isfinite(row[:6]).all():
        raise NotNuplan(f"a number of object {_track(item)} is not finite")
    return row if np.isfinite(row[6:]).all() else [*row[:6], np.nan, np.nan]


def _track(item: Any) -> str:
    return str(_required(_required(item, "metadata"), "track_token"))


def _required(item: Any, name: str) -> Any:
    value = _optional(item, name)
    if value is None:
        raise NotNuplan(f"{_kind(item)} has no {name}")
    return value


def _optional(item: Any, name: str) -> Any:
    """The attribute with this name, with or without a leading underscore; None if there is none."""
    attributes = item.attributes if isinstance(item, StandIn) else {}
    return attributes.get(f"_{name}", attributes.get(name))


def _enum_value(member: Any) -> int:
    """Value of an enum's member: the pickle holds it as the argument of the member's class."""
    if not isinstance(member, StandIn) or len(member.args) != 1 or not isinstance(member.args[0], int):
        raise NotNuplan(f"{_kind(member)} is no member of an enum")
    return member.args[0]


def _kind(item: Any) -> str:
    return item.kind if isinstance(item, StandIn) else type(item).__name__
