"""What PDM-Closed expects of everybody else, from the current frame alone: constant velocity (PDMS.md, end of section 9.4).

After route.py (lights count on the corrected route), before idm.py, which drives behind these objects, and the score of the proposals,
which is against them too. Positions are told every 0.2 s: step k stands on those of k div 2.
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
MAP_STEPS = 2  # steps of 0.1 s from one set of positions to the next
# The most objects of a kind, in the order in which they are listed.
NEAREST = (("static", 50), *zip(AGENTS, (50, 25, 10), strict=True))


@dataclass(**FROZEN)
class Forecast:
    """N objects near the ego (static ones, vehicles, pedestrians, bicycles, each from near to far) and L red connectors, from now on.

    poses: of centres, at each of T moments 0.2 s apart, with the heading that objects have now; sizes: length, width. velocity: global
    axes, 0 for static objects; agent: vehicle, pedestrian or bicycle. touched: the object meets the ego's footprint now, and is ignored
    from then on. lights: red connectors of the corrected route, light_numbers: their areas in the map's index, light_polygons: the same
    for shapely; light_touched: the ego's footprint lies wholly inside now, so it is ignored.
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
    """Everybody else for `steps` steps of 0.1 s, now included. frame: now. lanes: of the corrected route."""
    kept = _nearest(frame)
    objects = frame.objects
    names = tuple(objects.names[place] for place in kept)
    agent = np.array([name in AGENTS for name in names], bool)
    velocity = np.where(agent[:, None], objects.velocity[kept], 0.0)
    now, sizes = objects.poses[kept], objects.sizes[kept, :2]
    moments = np.arange(-(-steps // MAP_STEPS)) * (MAP_STEPS * STEP_S)
    poses = np.repeat(now[None], len(moments), axis=0)
    poses[..., :2] += moments[:, None, None] * _along_heading(now[:, 2], velocity)
    ego = shapely.polygons(ego_corners(frame.ego_pose))
    on_route = set(lanes)
    red = tuple(dict.fromkeys(name for name, is_red in frame.lights if is_red and name in on_route))
    numbers = np.array([index.number[name] for name in red], np.int64)
    return Forecast(
        tokens=tuple(objects.tracks[place] for place in kept),
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
    """The same objects as the score asks for them, for `steps` steps; those that touch the ego now are left out, as PDM-Closed's own
    scoring ignores them."""
    kept = np.flatnonzero(~expected.touched)
    poses = expected.poses[np.arange(steps) // MAP_STEPS][:, kept]
    return Tracks(
        tokens=tuple(expected.tokens[place] for place in kept),
        names=tuple(expected.names[place] for place in kept),
        sizes=expected.sizes[kept],
        poses=poses,
        present=np.ones(poses.shape[:2], bool),
        first_velocity=expected.velocity[kept],
    )


def red_lights_of(index: MapIndex, expected: Forecast, generation: int) -> RedLights:
    """The red connectors as the score asks for them, red at each of the 41 steps; none in v1, which has no such term."""
    lights = len(expected.lights) if generation == 2 else 0
    return RedLights(
        connectors=expected.lights[:lights],
        red=np.ones((STEPS, lights), bool),
        polygons=index.take(expected.light_numbers[:lights]),
    )


def _nearest(frame: LoggedFrame) -> Int64[np.ndarray, "N"]:
    """Places in the frame of the objects that PDM-Closed sees, kind by kind, each from near to far."""
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
    """The velocities turned onto the headings, or against them where they point that way more: agents do not slide."""
    against = np.abs(wrap_angle(heading - np.arctan2(velocity[:, 1], velocity[:, 0]))) >= np.pi / 2
    speed = np.where(against, -1.0, 1.0) * np.hypot(velocity[:, 0], velocity[:, 1])
    return speed[:, None] * np.column_stack([np.cos(heading), np.sin(heading)])
