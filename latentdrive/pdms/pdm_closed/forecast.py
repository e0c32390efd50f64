"""PDM-Closed's forecast of all other road users from the current frame: constant velocity.

The proposals keep their distance from these objects (idm.py) and are scored against them. Positions
are updated every 0.2 s: step k uses those of k div 2. Specified at the end of section 9.4 of
docs/pdms.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from jaxtyping import Bool, Float64, Int64

from latentdrive.boxes import corners, ego_centre, ego_corners
from latentdrive.geometry import wrap_angle
from latentdrive.pdms.map.index import MapIndex
from latentdrive.pdms.scene import AGENTS, STEP_S, STEPS, RedLights, Tracks
from latentdrive.types import FROZEN, LoggedFrame

RADIUS_M = 100.0
MOMENT_STEPS = 2  # steps of 0.1 s from one moment of the forecast to the next
# The largest number of objects of each kind, in the order in which kinds are listed.
NEAREST = (("static", 50), *zip(AGENTS, (50, 25, 10), strict=True))


@dataclass(**FROZEN)
class Forecast:
    """N objects near the ego and L red connectors, from now on.

    Objects are static ones, vehicles, pedestrians and bicycles, in this order, each kind from near
    to far. poses: of their centres at T moments 0.2 s apart; headings stay those of now. sizes:
    length, width. velocity: in global axes, 0 for static objects. agent: vehicle, pedestrian or
    bicycle. touched: the object touches the ego's box now, and is ignored from then on.

    lights: red connectors of the corrected route. light_numbers: their areas in the map's index.
    light_polygons: their polygons for shapely. light_touched: the ego's box lies wholly inside now,
    so the light is ignored.
    """

    tokens: tuple[str, ...]
    names: tuple[str, ...]
    sizes: Float64[np.ndarray, "N 2"]
    poses: Float64[np.ndarray, "T N 3"]
    velocity: Float64[np.ndarray, "N 2"]
    agent: Bool[np.ndarray, "N"]
    touched: Bool[np.ndarray, "N"]
    lights: tuple[str, ...]
    light_numbers: Int64[np.ndarray, "L"]
    light_polygons: np.ndarray
    light_touched: Bool[np.ndarray, "L"]


def forecast(index: MapIndex, frame: LoggedFrame, lanes: Sequence[str], steps: int) -> Forecast:
    """Forecast for `steps` steps of 0.1 s, including now. frame: now. lanes: of the corrected route."""
    nearest = _nearest(frame)
    objects = frame.objects
    names = tuple(objects.names[row] for row in nearest)
    agent = np.array([name in AGENTS for name in names], bool)
    velocity = np.where(agent[:, None], objects.velocity[nearest], 0.0)
    now, sizes = objects.poses[nearest], objects.sizes[nearest, :2]
    moments = np.arange(-(-steps // MOMENT_STEPS)) * (MOMENT_STEPS * STEP_S)
    poses = np.repeat(now[None], len(moments), axis=0)
    poses[..., :2] += moments[:, None, None] * _along_heading(now[:, 2], velocity)
    ego = shapely.polygons(ego_corners(frame.ego_pose))
    on_route = set(lanes)
    red = tuple(dict.fromkeys(name for name, is_red in frame.lights if is_red and name in on_route))
    numbers = np.array([index.number[name] for name in red], np.int64)
    return Forecast(
        tokens=tuple(objects.tracks[row] for row in nearest),
        names=names,
        sizes=sizes,
        poses=poses,
        velocity=velocity,
        agent=agent,
        touched=shapely.intersects(shapely.polygons(corners(now, sizes)), ego),
        lights=red,
        light_numbers=numbers,
        light_polygons=index.polygons[numbers],
        light_touched=shapely.within(ego, index.polygons[numbers]),
    )


def tracks_of(expected: Forecast, steps: int) -> Tracks:
    """The forecast objects as tracks, for `steps` steps.

    Objects that touch the ego now are left out, because PDM-Closed ignores them when it scores its
    proposals.
    """
    rows = np.flatnonzero(~expected.touched)
    poses = expected.poses[np.arange(steps) // MOMENT_STEPS][:, rows]
    return Tracks(
        tokens=tuple(expected.tokens[row] for row in rows),
        names=tuple(expected.names[row] for row in rows),
        sizes=expected.sizes[rows],
        poses=poses,
        present=np.ones(poses.shape[:2], bool),
        first_velocity=expected.velocity[rows],
    )


def red_lights_of(index: MapIndex, expected: Forecast, generation: int) -> RedLights:
    """The forecast lights in the form of the score, red at each of the 41 steps. None in v1, which
    has no such term.
    """
    lights = len(expected.lights) if generation == 2 else 0
    return RedLights(
        connectors=expected.lights[:lights],
        red=np.ones((STEPS, lights), bool),
        polygons=index.take(expected.light_numbers[:lights]),
    )


def _nearest(frame: LoggedFrame) -> Int64[np.ndarray, "N"]:
    """Indices of the objects that PDM-Closed considers, kind by kind, each from near to far."""
    objects = frame.objects
    away = np.hypot(*(objects.poses[:, :2] - ego_centre(frame.ego_pose)[:2]).T)
    kinds = np.array([name if name in AGENTS else "static" for name in objects.names], str)
    listed = []
    for kind, most in NEAREST:
        places = np.flatnonzero((kinds == kind) & (away <= RADIUS_M))
        listed.append(places[np.argsort(away[places], kind="stable")][:most])
    return np.concatenate(listed)


def _along_heading(
    heading: Float64[np.ndarray, "N"], velocity: Float64[np.ndarray, "N 2"]
) -> Float64[np.ndarray, "N 2"]:
    """Velocities turned onto the headings, so that agents do not slide sideways.

    A velocity that points backwards (90° or more) is turned against the heading.
    """
    against = np.abs(wrap_angle(heading - np.arctan2(velocity[:, 1], velocity[:, 0]))) >= np.pi / 2
    speed = np.where(against, -1.0, 1.0) * np.hypot(velocity[:, 0], velocity[:, 1])
    return speed[:, None] * np.column_stack([np.cos(heading), np.sin(heading)])
