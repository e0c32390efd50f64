"""Makes a drive with everything that a NAVSIM log records: a map, a route, lights, walkers, perhaps
a hazard, and a good ego.

Joins roads/road_map.py with the traffic. A drive in which the ego brakes or corners hard, or leaves
the road, is drawn again. Everything lies in the drive's own plane; log_frames.py places it in the
global frame.
"""

from dataclasses import dataclass, replace
from itertools import count

import numpy as np
import shapely
from jaxtyping import Bool, Float64

from latentdrive.boxes import corners
from latentdrive.errors import ConfigError
from latentdrive.geometry import wrap_angle
from latentdrive.types import FROZEN, RoadMap
from latentdrive.world.navsim.light_records import Signals, red_connectors, signal_posts
from latentdrive.world.navsim.pavement_walkers import pavement_walkers
from latentdrive.world.roads.layouts import Layout, RoadType
from latentdrive.world.roads.road_map import MappedRoads, map_roads
from latentdrive.world.traffic.clip_drive import TrafficSpec, plane_drive, plane_motion, start_traffic
from latentdrive.world.traffic.drivers import Mood
from latentdrive.world.traffic.hazards import FIRST_S, Hazard, HazardKind, HazardSpec
from latentdrive.world.traffic.lights import GiveWay, Lights, LightTimes
from latentdrive.world.traffic.pedestrian_hazard import CrossingPedestrian
from latentdrive.world.traffic.recording import Agents, Body, SimulatedDrive
from latentdrive.world.traffic.red_light_hazard import RedLight
from latentdrive.world.traffic.simulate import Traffic, record
from latentdrive.world.traffic.vehicle_hazards import CutIn, OncomingCar, StoppedCar


@dataclass(**FROZEN)
class Comfort:
    """Bounds on the ego's acceleration along its path (braking, accelerating) and across it, in m/s^2."""

    braking_mps2: float
    accelerating_mps2: float
    lateral_mps2: float


@dataclass(**FROZEN)
class CitySpec:
    """The settings that all drives share. Pairs are ranges.

    comfort: bounds for the ego; a drive that exceeds them is drawn again. attempts: how often that
    may happen. limit_share: speed limit of a drive as a share of the fastest speed of its road. The
    speeds of the moods in `traffic` are shares of this limit. walkers, walk_mps: number of people
    on the pavements, and their speeds. block_m, joint_m, shoulder_m: see road_map.map_roads.
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
    """A drive, its map and what happened on it.

    route: roadblock ids. reds: when each lane connector with a light is red, by id. signals: pose
    of the post and colours over time of each light. hazard_s: begin and end of the hazard in s.
    attempt: number of drives rejected before this one.
    """

    drive: SimulatedDrive
    map: RoadMap
    route: tuple[str, ...]
    reds: dict[str, Bool[np.ndarray, "T"]]
    signals: Signals
    hazard: HazardKind
    hazard_s: tuple[float, float] | None
    limit_mps: float
    attempt: int


@dataclass(**FROZEN)
class Ground:
    """What is drawn first of a drive: settle_s, the time before the first frame, the speed limit,
    the road and its map.
    """

    settle_s: float
    limit_mps: float
    layout: Layout
    mapped: MappedRoads


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
    """Return the first acceptable drive of its kind: the ego drives well, and the hazard happens.

    first_id: ids of the map count up from here. name: of the map. The same arguments give the same
    drive. Raises ConfigError if no attempt is acceptable.
    """
    reasons: list[str] = []
    for attempt in count():
        if attempt == spec.attempts:
            raise ConfigError(
                f"no {road_type} drive with hazard {hazard} was acceptable in {attempt} attempts (seed {seed}): "
                f"{'; '.join(reasons)}"
            )
        attempt_seed = (*seed, attempt)
        rng = np.random.default_rng(attempt_seed)
        ground = draw_ground(rng, road, spec, frames, rate_hz, first_id, name)
        city_drive = _simulate(rng, ground, road_type, hazard, attempt_seed, spec, frames, rate_hz)
        reason = _objection(city_drive, spec, rate_hz)
        if reason is None:
            return replace(city_drive, attempt=attempt)
        reasons.append(reason)


def city_map(
    road: RoadType, seed: tuple[int, ...], spec: CitySpec, *, frames: int, rate_hz: float, first_id: int, name: str
) -> MappedRoads:
    """Return the map of a drive without simulating it. seed: that of the drive, with the number of the attempt."""
    return draw_ground(np.random.default_rng(seed), road, spec, frames, rate_hz, first_id, name).mapped


def on_the_road(ego: Float64[np.ndarray, "T 3"], body: Body, road_map: RoadMap) -> Bool[np.ndarray, "T"]:
    """Return whether all corners of the ego's box lie in lanes, intersections or car parks.

    This is where NAVSIM's score lets it drive, without the shoulders. ego: poses of the rear axle.
    """
    areas = (*road_map.lanes, *road_map.intersections, *road_map.carparks)
    drivable = shapely.union_all([shapely.Polygon(area.rings[0], area.rings[1:]) for area in areas])
    shapely.prepare(drivable)
    box = corners(body.centre(ego), np.array(body.size_m[:2]))
    return shapely.contains_xy(drivable, box[..., 0], box[..., 1]).all(-1)


def draw_ground(
    rng: np.random.Generator,
    road: RoadType,
    spec: CitySpec,
    frames: int,
    rate_hz: float,
    first_id: int,
    name: str,
) -> Ground:
    """Draw the settling time, speed limit, road and map of one attempt: the first draws of its random numbers."""
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
    return Ground(settle_s=settle_s, limit_mps=limit, layout=layout, mapped=mapped)


@dataclass(**FROZEN)
class BegunDrive:
    """A drive whose traffic stands on the road, settle_s before frame 0. lights: those of ordinary traffic."""

    ground: Ground
    hazard: Hazard | None
    ordinary_lights: Lights | None
    traffic: Traffic

    @property
    def lights(self) -> Lights | None:
        """The traffic lights. A red-light hazard sets its own once the traffic moves."""
        return self.hazard.lights if isinstance(self.hazard, RedLight) else self.ordinary_lights


def begin_city_drive(
    rng: np.random.Generator, ground: Ground, kind: HazardKind, spec: CitySpec, frames: int, rate_hz: float
) -> BegunDrive:
    """Put the traffic, lights and hazard of one attempt on its ground."""
    layout, traffic = ground.layout, spec.traffic
    hazard = _make_hazard(rng, layout, ground.mapped, kind, spec)
    lights = None
    if layout.phases and kind != HazardKind.RED_LIGHT:
        lights = Lights.at_random(rng, layout, spec.lights)
    rules = GiveWay(layout) if layout.gives_way else None
    started = start_traffic(
        rng,
        layout,
        traffic,
        ego_mood=_in_mps(traffic.ego_mood, ground.limit_mps),
        mood=_in_mps(traffic.mood, ground.limit_mps),
        settle_s=ground.settle_s,
        frames=frames,
        rate_hz=rate_hz,
        events=[event for event in (hazard, lights, rules) if event is not None],
    )
    return BegunDrive(ground=ground, hazard=hazard, ordinary_lights=lights, traffic=started)


def _simulate(
    rng: np.random.Generator,
    ground: Ground,
    road_type: str,
    kind: HazardKind,
    seed: tuple[int, ...],
    spec: CitySpec,
    frames: int,
    rate_hz: float,
) -> CityDrive:
    """Simulate one attempt; its `attempt` is 0."""
    layout, mapped, traffic = ground.layout, ground.mapped, spec.traffic
    begun = begin_city_drive(rng, ground, kind, spec, frames, rate_hz)
    recording, hazard, lights = record(begun.traffic, frames), begun.hazard, begun.lights
    times_s = recording.times_s
    walkers = pavement_walkers(
        rng, layout, times_s, number=spec.walkers, walk_mps=spec.walk_mps, shoulder_m=spec.shoulder_m
    )
    staged = None if hazard is None else hazard.agents(times_s)
    agents = recording.agents.beside(walkers)
    recording = replace(recording, agents=agents if staged is None else staged.beside(agents))
    motion = plane_motion(layout, recording, traffic.ego)
    drive = plane_drive(layout, recording, motion, road_type=road_type, seed=seed)
    happened = hazard is not None and (staged is None or _comes_first(drive.agents, staged, layout))
    return CityDrive(
        drive=drive,
        map=mapped.map,
        route=mapped.route(recording.ego_roads),
        reds=red_connectors(lights, mapped, times_s),
        signals=signal_posts(lights, layout, times_s, spec.shoulder_m),
        hazard=kind,
        hazard_s=hazard.span_s if happened else None,
        limit_mps=ground.limit_mps,
        attempt=0,
    )


def _in_mps(mood: Mood, limit_mps: float) -> Mood:
    """A mood in m/s, from one whose speeds are shares of the speed limit."""
    low, high = (share * limit_mps for share in mood.speed_mps)
    return replace(mood, speed_mps=(low, high))


def _make_hazard(
    rng: np.random.Generator, layout: Layout, mapped: MappedRoads, kind: HazardKind, spec: CitySpec
) -> Hazard | None:
    if kind == HazardKind.NONE:
        return None
    if kind == HazardKind.PEDESTRIAN:
        crosswalks = mapped.crosswalks_m
        return CrossingPedestrian(rng, layout, spec.hazard, crosswalks_m=crosswalks, shoulder_m=spec.shoulder_m)
    if kind == HazardKind.RED_LIGHT:
        return RedLight(rng, layout, spec.hazard, times=spec.lights)
    classes = {HazardKind.ONCOMING: OncomingCar, HazardKind.STOPPED_CAR: StoppedCar, HazardKind.CUT_IN: CutIn}
    return classes[kind](rng, layout, spec.hazard, calm=spec.traffic.calm)


def _comes_first(agents: Agents, staged: Agents, layout: Layout) -> bool:
    """Whether the staged agent is still the first one: agents that touch the ego are left out of a drive."""
    if not len(agents) or agents.kinds[0] != staged.kinds[0] or not np.array_equal(agents.sizes[0], staged.sizes[0]):
        return False
    poses = staged.poses if layout.line is None else layout.line.place(staged.poses)
    return bool(np.allclose(agents.poses[:, 0], poses[:, 0]))


def _objection(city_drive: CityDrive, spec: CitySpec, rate_hz: float) -> str | None:
    """Why a drive is not acceptable: a good driver would not have driven so, or the hazard did not happen."""
    hazardous = city_drive.hazard != HazardKind.NONE
    if hazardous and (city_drive.hazard_s is None or city_drive.hazard_s[0] < FIRST_S):
        return "the hazard did not happen"
    ego, speed, comfort = city_drive.drive.ego, city_drive.drive.ego_speed_mps, spec.comfort
    along = np.diff(speed) * rate_hz
    across = wrap_angle(np.diff(ego[:, 2])) * rate_hz * (speed[1:] + speed[:-1]) / 2
    if along.min() < -comfort.braking_mps2 or along.max() > comfort.accelerating_mps2:
        return f"the ego accelerates between {along.min():.1f} and {along.max():.1f} m/s^2"
    if np.abs(across).max() > comfort.lateral_mps2:
        return f"the ego corners with {np.abs(across).max():.1f} m/s^2"
    if not on_the_road(ego, spec.traffic.ego, city_drive.map).all():
        return "the ego leaves the road"
    if np.hypot(*(ego[-1, :2] - ego[0, :2])) < 1.0 and not hazardous:
        return "the ego stands all the time"
    return None
