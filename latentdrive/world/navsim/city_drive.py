"""A drive with all that a NAVSIM log tells: a mapped road, a route, lights, walkers, perhaps a hazard, and an ego that drives well.

Fourth step of the NAVSIM world: joins drives.py, road_map.py, lights.py and hazards.py. Everything lies in the drive's own plane;
navsim_log_frames.py places it in the global frame.
"""

from dataclasses import dataclass, replace
from itertools import count

import numpy as np
import shapely
from jaxtyping import Bool, Float64

from latentdrive.errors import ConfigError
from latentdrive.geometry import wrap_angle
from latentdrive.types import FROZEN, RoadMap
from latentdrive.world.roads.layouts import Layout, RoadType, lane_points
from latentdrive.world.roads.road_map import KERB_M, WALKWAY_M, MappedRoads, map_roads
from latentdrive.world.traffic.clip_drive import TrafficSpec, bent_lane, comfortable_speed, in_the_plane
from latentdrive.world.traffic.drivers import Mood
from latentdrive.world.traffic.hazards import (
    FIRST_S,
    CrossingPedestrian,
    CutIn,
    Hazard,
    HazardKind,
    HazardSpec,
    OncomingCar,
    RedLight,
    StoppedCar,
)
from latentdrive.world.traffic.lights import GiveWay, Lights, LightTimes
from latentdrive.world.traffic.recording import Agents, Body, Drive
from latentdrive.world.traffic.simulate import simulate

WALKER_M = np.array([0.6, 0.6, 1.72])
PAVEMENT_END_M = 1.0
POST_M = 0.9  # from the pavement's side of the road to the post of a light


@dataclass(**FROZEN)
class Comfort:
    """What the ego must keep to, or the drive is drawn again: m/s^2 along (braking, accelerating) and across."""

    braking_mps2: float
    accelerating_mps2: float
    lateral_mps2: float


@dataclass(**FROZEN)
class CitySpec:
    """What is the same in all drives. limit_share: speed limit as a share of the road's fastest wish, drawn a drive.

    Speeds of the moods in `traffic` are shares of it. walkers: how many walk on pavements; walk_mps: their pace. block_m, joint_m:
    see road_map.map_roads, and shoulder_m: what is paved beside the outermost lanes. attempts: how often a drive may be drawn anew before that is an error.
    """

    traffic: TrafficSpec
    lights: LightTimes
    hazard: HazardSpec
    comfort: Comfort
    limit_share: tuple[float, float]
    walkers: tuple[int, int]
    walk_mps: tuple[float, float]
    block_m: float
    joint_m: float
    shoulder_m: float
    attempts: int


@dataclass(**FROZEN)
class CityDrive:
    """A drive, its map and what happened. route: roadblock ids. reds: for each lane connector with a light, when it is red;
    signals: for each approach with a light, pose of its post and colour over time. attempt: how many were rejected before."""

    drive: Drive
    map: RoadMap
    route: tuple[str, ...]
    reds: dict[str, Bool[np.ndarray, "T"]]
    signals: tuple[tuple[Float64[np.ndarray, "3"], tuple[str, ...]], ...]
    hazard: HazardKind
    hazard_s: tuple[float, float] | None
    limit_mps: float
    attempt: int


def make_city_drive(
    *,
    road_type: str,
    road: RoadType,
    hazard: HazardKind,
    seed: tuple[int, ...],
    spec: CitySpec,
    frames: int,
    rate_hz: float,
    first_id: int,
    name: str,
) -> CityDrive:
    """The first drive of its kind, in order of attempts, in which the ego stays on the road and in comfort and the hazard
    happens; the same arguments give the same drive. name: of the map. Raises ConfigError where no attempt serves."""
    reasons: list[str] = []
    for attempt in count():
        if attempt == spec.attempts:
            raise ConfigError(
                f"no {road_type} drive with hazard {hazard} served in {attempt} attempts (seed {seed}): {'; '.join(reasons)}"
            )
        made = _attempt(road_type, road, hazard, (*seed, attempt), spec, frames, rate_hz, first_id, name)
        reason = _objection(made, spec, rate_hz)
        if reason is None:
            return replace(made, attempt=attempt)
        reasons.append(reason)


def _attempt(
    road_type: str,
    road: RoadType,
    kind: HazardKind,
    seed: tuple[int, ...],
    spec: CitySpec,
    frames: int,
    rate_hz: float,
    first_id: int,
    name: str,
) -> CityDrive:
    rng, traffic = np.random.default_rng(seed), spec.traffic
    settle_s, limit, layout, mapped = _ground(rng, road, spec, frames, rate_hz, first_id, name)
    hazard = _hazard(rng, layout, mapped, kind, spec)
    lights = None
    if layout.phases and kind != HazardKind.RED_LIGHT:
        lights = Lights.at_random(rng, layout, spec.lights)
    rules = GiveWay(layout) if layout.gives_way else None
    recording = simulate(
        rng,
        layout,
        frames=frames,
        rate_hz=rate_hz,
        step_s=traffic.step_s,
        settle_s=settle_s,
        body=traffic.ego,
        calm=traffic.calm,
        ego_mood=_at_most(limit, traffic.ego_mood),
        mood=_at_most(limit, traffic.mood),
        gap_m=traffic.gap_m,
        limit=comfortable_speed(layout, traffic),
        hazard_every_s=traffic.hazard_every_s,
        lane_wish_every_s=traffic.lane_wish_every_s,
        events=[event for event in (hazard, lights, rules) if event is not None],
    )
    lights = hazard.lights if isinstance(hazard, RedLight) else lights
    walkers = _walkers(rng, layout, recording.times_s, spec)
    staged = None if hazard is None else hazard.agents(recording.times_s)
    agents = recording.agents.beside(walkers)
    recording = replace(recording, agents=agents if staged is None else staged.beside(agents))
    ego, speed, agents = in_the_plane(layout, recording, traffic.ego)
    drive = Drive(
        road_type=road_type,
        seed=seed,
        times_s=recording.times_s,
        ego=ego,
        ego_speed_mps=speed,
        agents=agents,
        lanes=tuple(bent_lane(lane, layout.line) for lane in recording.lanes),
    )
    happened = hazard is None or (staged is None or _first_is(agents, staged, layout))
    return CityDrive(
        drive=drive,
        map=mapped.map,
        route=mapped.route(recording.ego_roads),
        hazard=kind,
        limit_mps=limit,
        attempt=0,
        hazard_s=hazard.span_s if hazard is not None and happened else None,
        reds=_reds(lights, mapped, recording.times_s),
        signals=_signals(lights, layout, recording.times_s, spec.shoulder_m),
    )


def _at_most(limit_mps: float, mood: Mood) -> Mood:
    """A mood whose speeds are shares of the limit, in m/s."""
    low, high = (share * limit_mps for share in mood.speed_mps)
    return replace(mood, speed_mps=(low, high))


def city_map(
    road: RoadType, seed: tuple[int, ...], spec: CitySpec, *, frames: int, rate_hz: float, first_id: int, name: str
) -> MappedRoads:
    """The map of the drive that was made from this seed, its attempt included, without driving it."""
    return _ground(np.random.default_rng(seed), road, spec, frames, rate_hz, first_id, name)[-1]


def _ground(
    rng, road: RoadType, spec: CitySpec, frames: int, rate_hz: float, first_id: int, name: str
) -> tuple[float, float, Layout, MappedRoads]:
    """What is drawn first: time before the first frame, speed limit, road and map."""
    settle_s = float(rng.uniform(*spec.traffic.settle_s))
    limit = float(rng.uniform(*spec.limit_share)) * road.speed_mps[1]
    layout = road.layout(rng, limit * (frames / rate_hz + settle_s))
    mapped = map_roads(
        layout,
        first_id=first_id,
        block_m=spec.block_m,
        joint_m=spec.joint_m,
        shoulder_m=spec.shoulder_m,
        limit_mps=limit,
        name=name,
    )
    return settle_s, limit, layout, mapped


def _hazard(rng, layout: Layout, mapped: MappedRoads, kind: HazardKind, spec: CitySpec) -> Hazard | None:
    calm = spec.traffic.calm
    if kind == HazardKind.PEDESTRIAN:
        crosswalks = mapped.crosswalks_m
        return CrossingPedestrian(rng, layout, spec.hazard, crosswalks_m=crosswalks, shoulder_m=spec.shoulder_m)
    if kind == HazardKind.RED_LIGHT:
        return RedLight(rng, layout, spec.hazard, times=spec.lights)
    makers = {HazardKind.ONCOMING: OncomingCar, HazardKind.STOPPED_CAR: StoppedCar, HazardKind.CUT_IN: CutIn}
    return None if kind == HazardKind.NONE else makers[kind](rng, layout, spec.hazard, calm=calm)


def _first_is(agents: Agents, staged: Agents, layout: Layout) -> bool:
    """Whether the staged agent is still there: who touches the ego is left out of a drive."""
    there = len(agents) > 0 and agents.kinds[0] == staged.kinds[0] and np.array_equal(agents.sizes[0], staged.sizes[0])
    if not there:
        return False
    poses = staged.poses if layout.line is None else layout.line.place(staged.poses)
    return bool(np.allclose(agents.poses[:, 0], poses[:, 0]))


def _objection(made: CityDrive, spec: CitySpec, rate_hz: float) -> str | None:
    """Why a drive does not serve: what a good driver would not have done, or a hazard that did not happen."""
    if made.hazard != HazardKind.NONE and (made.hazard_s is None or made.hazard_s[0] < FIRST_S):
        return "the hazard did not happen"
    ego, speed, comfort = made.drive.ego, made.drive.ego_speed_mps, spec.comfort
    along = np.diff(speed) * rate_hz
    across = wrap_angle(np.diff(ego[:, 2])) * rate_hz * (speed[1:] + speed[:-1]) / 2
    if along.min() < -comfort.braking_mps2 or along.max() > comfort.accelerating_mps2:
        return f"the ego brakes or accelerates with {along.min():.1f}, {along.max():.1f} m/s^2"
    if np.abs(across).max() > comfort.lateral_mps2:
        return f"the ego corners with {np.abs(across).max():.1f} m/s^2"
    if not on_the_road(ego, spec.traffic.ego, made.map).all():
        return "the ego leaves the road"
    if np.hypot(*(ego[-1, :2] - ego[0, :2])) < 1.0 and made.hazard == HazardKind.NONE:
        return "the ego stands all the time"
    return None


def on_the_road(ego: Float64[np.ndarray, "T 3"], body: Body, road_map: RoadMap) -> Bool[np.ndarray, "T"]:
    """Whether all four corners of the ego lie in lanes, intersections or car parks: where NAVSIM's score lets it drive, without
    the shoulders of roads. ego: rear axle."""
    areas = (*road_map.lanes, *road_map.intersections, *road_map.carparks)
    drivable = shapely.union_all([shapely.Polygon(area.rings[0], area.rings[1:]) for area in areas])
    shapely.prepare(drivable)
    corners = box_corners(body.centre(ego), np.array(body.size_m))
    return shapely.contains_xy(drivable, corners[..., 0], corners[..., 1]).all(-1)


def box_corners(poses: Float64[np.ndarray, "*n 3"], size: Float64[np.ndarray, "3"]) -> Float64[np.ndarray, "*n 4 2"]:
    """Front left, rear left, rear right and front right corner of boxes in the plane."""
    offsets = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]) * size[:2] / 2
    cos, sin = np.cos(poses[..., 2])[..., None], np.sin(poses[..., 2])[..., None]
    x = poses[..., 0, None] + cos * offsets[:, 0] - sin * offsets[:, 1]
    y = poses[..., 1, None] + sin * offsets[:, 0] + cos * offsets[:, 1]
    return np.stack([x, y], -1)


def _walkers(rng, layout: Layout, times_s: Float64[np.ndarray, "T"], spec: CitySpec) -> Agents:
    """People who walk along pavements, never to their end. Coordinates of the layout."""
    roads = [lanes[-1] for start in layout.network.graph.values() for lanes in start.values()]
    longest = spec.walk_mps[1] * (times_s[-1] - times_s[0]) + 2 * PAVEMENT_END_M
    roads = [lane for lane in roads if lane.length > longest]
    number = int(rng.integers(*spec.walkers, endpoint=True)) if roads else 0
    poses, speeds = np.zeros((len(times_s), number, 3)), np.zeros((len(times_s), number))
    for row in range(number):
        lane, pace = roads[int(rng.integers(len(roads)))], float(rng.uniform(*spec.walk_mps))
        walked, back = pace * (times_s - times_s[0]), bool(rng.random() < 0.5)
        start = rng.uniform(PAVEMENT_END_M, lane.length - PAVEMENT_END_M - walked[-1])
        along = start + (walked[-1] - walked if back else walked)
        aside = -(lane.width_at(0.0) / 2 + spec.shoulder_m + KERB_M + WALKWAY_M * rng.uniform(0.25, 0.75))
        points, ahead = (lane_points(lane, along + step, aside) for step in (0.0, -0.1 if back else 0.1))
        poses[:, row] = np.concatenate([points, np.arctan2(*(ahead - points).T[::-1])[:, None]], -1)
        speeds[:, row] = pace
    sizes = WALKER_M * rng.uniform(0.9, 1.1, (number, 1))
    return Agents(poses=poses, speed_mps=speeds, sizes=sizes, kinds=("pedestrian",) * number)


def _reds(
    lights: Lights | None, mapped: MappedRoads, times_s: Float64[np.ndarray, "T"]
) -> dict[str, Bool[np.ndarray, "T"]]:
    """When each lane connector behind a light is red."""
    if lights is None:
        return {}
    red = {
        road: np.array([lights.colour(road, time) == "red" for time in times_s])
        for phase in lights.phases
        for road in phase
    }
    return {
        one: red[road] for road in red for turn, ids in mapped.connectors.items() if turn[0] == road[1] for one in ids
    }


def _signals(lights: Lights | None, layout: Layout, times_s: Float64[np.ndarray, "T"], shoulder_m: float) -> tuple:
    """Where the posts stand, to the right of the stop lines and the shoulder, and what they show."""
    if lights is None:
        return ()
    result = []
    for road in (road for phase in lights.phases for road in phase):
        lane = layout.network.get_lane((*road, 0))
        aside = -(lane.width_at(0.0) / 2 + shoulder_m + POST_M)
        end, before = lane_points(lane, np.array([lane.length, lane.length - 1.0]), aside)
        heading = float(np.arctan2(*(end - before)[::-1]))
        result.append((np.array([*end, heading]), tuple(lights.colour(road, time) for time in times_s)))
    return tuple(result)
