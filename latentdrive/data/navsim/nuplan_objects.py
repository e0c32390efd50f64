"""Others and traffic lights as nuPlan's classes hold them, read from the stand-ins that unpickle.py makes of them.

Under navsim_synthetic.py alone: logs hold plain arrays. Attributes are those of nuplan-devkit v1.2, which keeps some of them under
a name with a leading underscore.
"""

from typing import Any

import numpy as np

from latentdrive.data.navsim.frames import OBJECT_NAMES
from latentdrive.types import TrackedObjects

RED = 2  # nuPlan's TrafficLightStatusType
EGO = 7  # nuPlan's TrackedObjectType; the others are numbered as OBJECT_NAMES


def detected_objects(detections: Any) -> TrackedObjects:
    """A DetectionsTracks in the global frame, its own ego left out. Raises AttributeError, ValueError where it is another thing.

    nuPlan's boxes have no height above the ground: centre_z_m is 0.
    """
    objects = _of(_of(detections, "tracked_objects"), "tracked_objects")
    kinds = [_number(_of(one, "tracked_object_type")) for one in objects]
    objects = [one for one, kind in zip(objects, kinds) if kind != EGO]
    kinds = [kind for kind in kinds if kind != EGO]
    rows = np.array([_row(one) for one in objects], np.float64).reshape(-1, 8)
    return TrackedObjects(
        poses=rows[:, :3],
        centre_z_m=np.zeros(len(rows)),
        sizes=rows[:, 3:6],
        velocity=rows[:, 6:],
        names=tuple(OBJECT_NAMES[kind] for kind in kinds),
        tracks=tuple(str(_of(_of(one, "metadata"), "track_token")) for one in objects),
    )


def light_states(statuses: Any) -> tuple[tuple[str, bool], ...]:
    """A TrafficLightStatuses, or the list in it, as lane connector and whether it is red."""
    entries = statuses if isinstance(statuses, list | tuple) else _of(statuses, "traffic_lights")
    return tuple((str(_of(one, "lane_connector_id")), _number(_of(one, "status")) == RED) for one in entries)


def _row(one: Any) -> list[float]:
    """x, y, heading, length, width, height, vx, vy; static objects have no velocity."""
    box = _of(one, "box")
    centre = _of(box, "center")
    velocity = _of(one, "velocity", None)
    speeds = [0.0, 0.0] if velocity is None else [_of(velocity, "x"), _of(velocity, "y")]
    row = [
        *(_of(centre, name) for name in ("x", "y", "heading")),
        *(_of(box, name) for name in ("length", "width", "height")),
    ]
    row = [float(value) for value in (*row, *speeds)]
    if not np.isfinite(row).all():
        raise ValueError(f"a number of object {_of(_of(one, 'metadata'), 'track_token')} is not finite")
    return row


def _of(one: Any, name: str, *default: Any) -> Any:
    """An attribute by its name, or by its name with an underscore before it."""
    for spelling in (f"_{name}", name):
        if hasattr(one, spelling):
            return getattr(one, spelling)
    if default:
        return default[0]
    raise AttributeError(f"{getattr(one, 'kind', type(one).__name__)} has no {name}")


def _number(member: Any) -> int:
    """Value of an enum's member, which its pickle holds as the argument of its class."""
    return int(member.args[0])
