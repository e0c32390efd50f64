"""Decorrelated drives: the ego goes its own way and the others are a replay that does not react.

In natural traffic the ego's motion and the others' go together, so codes of one predict the other and nothing can be
separated. Here the ego's speed and lateral offset are drawn at random, and each recorded vehicle is moved along the road
to where the ego will see it, and shown at a pace of its own or standing: otherwise where a vehicle is and how it is turned
tells nearly all of its motion, and a single frame is as good as two.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float64

from latentdrive.types import FROZEN
from latentdrive.world.roads.centreline import Centreline, SpeedLimit
from latentdrive.world.traffic.recording import Agents, Body

FINE_S = 0.05  # step of the integration of the ego's way
CLEAR_M = 0.4  # boxes closer than this count as overlapping


@dataclass(**FROZEN)
class OwnWay:
    """How an ego goes its own way. speed_mps: range the wanted speed is drawn from; hold_s: for how long it is wanted;
    stop_share: how often it is 0. acceleration_mps2: bound. offset_s: time between lateral offsets; lateral_mps2: bound of the
    acceleration that a change of offset adds."""

    speed_mps: tuple[float, float]
    hold_s: tuple[float, float]
    stop_share: float
    acceleration_mps2: float
    offset_s: tuple[float, float]
    lateral_mps2: float


@dataclass(**FROZEN)
class Appearance:
    """Where a replayed vehicle is seen: at a random moment, this many metres ahead of the ego (range).

    copies: each movable vehicle of the recording is shown so often. tries: to find it a place where it touches nobody.
    pace: range of the share of its recorded speed at which each vehicle is replayed; still_share: how often it stands.
    """

    ahead_m: tuple[float, float]
    copies: int
    tries: int
    pace: tuple[float, float]
    still_share: float


@dataclass(**FROZEN)
class Replay:
    """What a decorrelated drive is made with: the ego's own way, and how the others are shown."""

    own_way: OwnWay
    appearance: Appearance


def go_own_way(
    rng: np.random.Generator,
    line: Centreline,
    limit: SpeedLimit,
    *,
    way: OwnWay,
    frames: int,
    rate_hz: float,
    start_m: float,
    offsets_m: tuple[float, float],
) -> tuple[Float64[np.ndarray, "T 3"], Float64[np.ndarray, "T"]]:
    """Rear axle in road coordinates and speed in m/s, rate_hz a second. offsets_m: smallest and largest d."""
    fine = round((frames / rate_hz) / FINE_S) + 1
    wanted = _steps(
        rng, fine, way.hold_s, lambda: 0.0 if rng.random() < way.stop_share else rng.uniform(*way.speed_mps)
    )
    s, speed = np.empty(fine), np.empty(fine)
    here, now = start_m, wanted[0]
    for index in range(fine):
        now = np.clip(wanted[index], now - way.acceleration_mps2 * FINE_S, now + way.acceleration_mps2 * FINE_S)
        now = min(now, limit.at(here, forward=True))
        s[index], speed[index] = here, now
        here += now * FINE_S  # the offset's effect on the length of the way is added to the speed below
    d, slope = _offsets(rng, s, speed, way, offsets_m)
    road = np.stack([s, d, np.arctan(slope)], -1)
    # place() turns the slope against the stretched road: give it the angle that makes d follow s.
    road[:, 2] = np.arctan2(slope, 1.0)
    travelled = speed * np.hypot(line.stretch(s, d), slope)
    rows = np.round(np.arange(frames) / rate_hz / FINE_S).astype(int)
    return road[rows], travelled[rows]


def place_replay(
    rng: np.random.Generator,
    agents: Agents,
    ego: Float64[np.ndarray, "T 3"],
    body: Body,
    appearance: Appearance,
    movable: Bool[np.ndarray, "N"],
) -> Agents:
    """Every movable vehicle moved along the road to where this ego sees it; those that touch the ego or another are dropped.

    Coordinates of the layout. A vehicle goes the way that was recorded, at its own pace.
    """
    kept: list[int] = []
    own = body.centre(ego), np.array(body.size_m)
    rows = np.concatenate([np.arange(len(agents)), *[np.flatnonzero(movable)] * (appearance.copies - 1)]).astype(int)
    agents, movable = at_own_pace(rng, agents.pick(rows), appearance), movable[rows]
    poses = agents.poses.copy()
    for row in rng.permutation(len(agents)):
        for _ in range(appearance.tries if movable[row] else 1):
            moment = int(rng.integers(len(ego)))
            shift = ego[moment, 0] + rng.uniform(*appearance.ahead_m) - agents.poses[moment, row, 0]
            poses[:, row, 0] = agents.poses[:, row, 0] + shift * movable[row]
            if touches(poses[:, row], agents.sizes[row], *own).any():
                continue
            if not any(touches(poses[:, row], agents.sizes[row], poses[:, k], agents.sizes[k]).any() for k in kept):
                kept.append(int(row))
                break
    return replace(agents, poses=poses).pick(np.array(sorted(kept), int))


def at_own_pace(rng: np.random.Generator, agents: Agents, appearance: Appearance) -> Agents:
    """Every vehicle slowed down by a factor of its own, around a moment of its own that is shown as it was."""
    frames, count = agents.speed_mps.shape
    pace = np.where(rng.random(count) < appearance.still_share, 0.0, rng.uniform(*appearance.pace, count))
    moment = rng.integers(frames, size=count)
    when = moment + (np.arange(frames)[:, None] - moment) * pace  # rows of the recording, between whole ones
    before, column = np.floor(when).astype(int), np.arange(count)
    after, share = np.minimum(before + 1, frames - 1), when - before
    start, end = agents.poses[before, column], agents.poses[after, column]
    turned = (end[..., 2] - start[..., 2] + np.pi) % (2 * np.pi) - np.pi
    step = np.concatenate([end[..., :2] - start[..., :2], turned[..., None]], -1)
    return replace(
        agents,
        poses=start + share[..., None] * step,
        speed_mps=pace * (agents.speed_mps[before, column] * (1 - share) + agents.speed_mps[after, column] * share),
    )


def without_contact(agents: Agents, ego: Float64[np.ndarray, "T 3"], body: Body) -> Agents:
    """The agents that touch neither the ego nor one before them. ego: rear axle; any frame that both are given in."""
    kept: list[int] = []
    own = body.centre(ego), np.array(body.size_m)
    for row in range(len(agents)):
        others = [own, *((agents.poses[:, k], agents.sizes[k]) for k in kept)]
        if not any(touches(agents.poses[:, row], agents.sizes[row], pose, size).any() for pose, size in others):
            kept.append(row)
    return agents.pick(np.array(kept, int))


def touches(
    a: Float64[np.ndarray, "T 3"],
    a_size: Float64[np.ndarray, "3"],
    b: Float64[np.ndarray, "T 3"],
    b_size: Float64[np.ndarray, "3"],
) -> Bool[np.ndarray, "T"]:
    """Whether two boxes come closer than CLEAR_M, by separating axes; NaN never touches."""
    apart = np.zeros(len(a), bool)
    offset = b[:, :2] - a[:, :2]
    for pose in (a, b):
        for turn in (0.0, np.pi / 2):
            axis = pose[:, 2] + turn
            distance = np.abs(offset[:, 0] * np.cos(axis) + offset[:, 1] * np.sin(axis))
            reach = CLEAR_M + sum(
                size[0] / 2 * np.abs(np.cos(box[:, 2] - axis)) + size[1] / 2 * np.abs(np.sin(box[:, 2] - axis))
                for box, size in ((a, a_size), (b, b_size))
            )
            apart |= ~(distance < reach)
    return ~apart


def _steps(rng, count: int, hold_s: tuple[float, float], draw) -> Float64[np.ndarray, "n"]:
    """A value drawn again every hold_s seconds, on the fine grid."""
    values: list[float] = []
    while len(values) < count:
        values += [draw()] * max(1, round(rng.uniform(*hold_s) / FINE_S))
    return np.array(values[:count])


def _offsets(
    rng, s: Float64[np.ndarray, "n"], speed: Float64[np.ndarray, "n"], way: OwnWay, bounds: tuple[float, float]
) -> tuple[Float64[np.ndarray, "n"], Float64[np.ndarray, "n"]]:
    """Lateral offset and its slope over s: half cosine waves between random offsets, so a standing ego does not slide."""
    d, slope = np.empty(len(s)), np.zeros(len(s))
    index, here = 0, rng.uniform(*bounds)
    while index < len(s):
        stop = min(len(s), index + round(rng.uniform(*way.offset_s) / FINE_S))
        length = max(s[stop - 1] - s[index], 1e-3)
        fastest = max(float(speed[index:stop].max()), 1.0)
        # A half cosine wave over `length` has the lateral acceleration change * (pi v / length)^2 / 2 at its ends.
        bound = min(2 * way.lateral_mps2 * (length / (np.pi * fastest)) ** 2, 0.2 * length)
        target = here + np.clip(rng.uniform(*bounds) - here, -bound, bound)
        share = (s[index:stop] - s[index]) / length
        d[index:stop] = here + (target - here) * (1 - np.cos(np.pi * share)) / 2
        slope[index:stop] = (target - here) * np.pi / (2 * length) * np.sin(np.pi * share)
        index, here = stop, target
    return d, slope
