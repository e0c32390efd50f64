"""Decorrelated drives: the ego moves independently of the others, who are a replay that does not react to it.

In natural traffic the motion of the ego and that of the others are correlated, so codes of one
predict the other and cannot be separated. Here the ego's speed and lateral offset are drawn at
random, and each recorded vehicle is shifted along the road to a place where the ego will see it. It
is replayed at a random pace, or standing; otherwise its position and heading would determine nearly
all of its motion, and a single frame would tell as much as two.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float64

from latentdrive.boxes import boxes_touch
from latentdrive.types import FROZEN
from latentdrive.world.roads.centreline import Centreline, SpeedLimit
from latentdrive.world.traffic.recording import Agents, Body

FINE_S = 0.05  # time step with which the motion of the ego is integrated
CLEAR_M = 0.4  # boxes that are closer to each other than this count as touching


@dataclass(**FROZEN)
class IndependentMotion:
    """How an ego moves independently of the others. Pairs are ranges.

    speed_mps: desired speeds. hold_s: how long one of them is held. stop_share: probability that a
    desired speed is 0. acceleration_mps2: largest acceleration along the road. offset_s: time
    between changes of the lateral offset. lateral_mps2: largest lateral acceleration that a change
    of offset adds.
    """

    speed_mps: tuple[float, float]
    hold_s: tuple[float, float]
    stop_share: float
    acceleration_mps2: float
    offset_s: tuple[float, float]
    lateral_mps2: float


@dataclass(**FROZEN)
class Appearance:
    """Where and how replayed vehicles appear. Pairs are ranges.

    ahead_m: distance ahead of the ego at which a vehicle is at a random moment. copies: how often
    each movable vehicle of the recording is shown. tries: attempts to find a place where it touches
    no other agent. pace: factor on its recorded speed. still_share: share of the vehicles that stand.
    """

    ahead_m: tuple[float, float]
    copies: int
    tries: int
    pace: tuple[float, float]
    still_share: float


@dataclass(**FROZEN)
class Replay:
    """Settings of decorrelated drives: how the ego moves, and how the others appear."""

    ego_motion: IndependentMotion
    appearance: Appearance


def independent_motion(
    rng: np.random.Generator,
    line: Centreline,
    limit: SpeedLimit,
    *,
    motion: IndependentMotion,
    frames: int,
    rate_hz: float,
    start_m: float,
    offsets_m: tuple[float, float],
) -> tuple[Float64[np.ndarray, "T 3"], Float64[np.ndarray, "T"]]:
    """Draw the motion of an ego along a centreline: poses of the rear axle in road coordinates, and speeds in m/s.

    limit: comfortable speeds. start_m: s of the first pose. offsets_m: smallest and largest d.
    """
    fine = round((frames / rate_hz) / FINE_S) + 1
    desired = _steps(
        rng, fine, motion.hold_s, lambda: 0.0 if rng.random() < motion.stop_share else rng.uniform(*motion.speed_mps)
    )
    s, speed = np.empty(fine), np.empty(fine)
    here, now, step = start_m, desired[0], motion.acceleration_mps2 * FINE_S
    for index in range(fine):
        now = np.clip(desired[index], now - step, now + step)
        now = min(now, limit.at(here, forward=True))
        s[index], speed[index] = here, now
        here += now * FINE_S  # `travelled` accounts for the offset's effect on the distance
    d, slope = _offsets(rng, s, speed, motion, offsets_m)
    # place() accounts for the stretch of the road, so the heading relative to the road follows from the slope alone.
    road = np.stack([s, d, np.arctan2(slope, 1.0)], -1)
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
    """Shift every movable vehicle along the road to where the ego sees it; drop those that touch the ego or each other.

    ego: poses of the rear axle. Poses are in the coordinates of the layout. Vehicles keep their
    recorded paths, at a random pace.
    """
    rows = np.concatenate([np.arange(len(agents)), *[np.flatnonzero(movable)] * (appearance.copies - 1)]).astype(int)
    agents, movable = at_own_pace(rng, agents.pick(rows), appearance), movable[rows]
    poses = agents.poses.copy()
    placed = _Placed(ego, body)
    for row in rng.permutation(len(agents)).tolist():
        for _ in range(appearance.tries if movable[row] else 1):
            moment = int(rng.integers(len(ego)))
            shift = ego[moment, 0] + rng.uniform(*appearance.ahead_m) - agents.poses[moment, row, 0]
            poses[:, row, 0] = agents.poses[:, row, 0] + shift * movable[row]
            if placed.try_add(row, poses[:, row], agents.sizes[row]):
                break
    return replace(agents, poses=poses).pick(np.array(sorted(placed.rows), int))


def at_own_pace(rng: np.random.Generator, agents: Agents, appearance: Appearance) -> Agents:
    """Slow each vehicle down by a random factor. At one random moment it is where the recording has it."""
    frames, count = agents.speed_mps.shape
    pace = np.where(rng.random(count) < appearance.still_share, 0.0, rng.uniform(*appearance.pace, count))
    moment = rng.integers(frames, size=count)
    when = moment + (np.arange(frames)[:, None] - moment) * pace  # fractional rows of the recording
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
    """Return the agents that touch neither the ego nor an agent before them. ego: poses of its rear axle."""
    placed = _Placed(ego, body)
    for row in range(len(agents)):
        placed.try_add(row, agents.poses[:, row], agents.sizes[row])
    return agents.pick(np.array(placed.rows, int))


def touches(
    pose: Float64[np.ndarray, "T 3"],
    size: Float64[np.ndarray, "3"],
    others: Float64[np.ndarray, "T N 3"],
    sizes: Float64[np.ndarray, "N 3"],
) -> Bool[np.ndarray, "T N"]:
    """Return whether a box is closer than CLEAR_M to each of the others, by separating axes.

    pose, others: poses of the centres over time. NaN never touches.
    """
    pose = pose[:, None]
    headings = ((np.cos(poses[..., 2]), np.sin(poses[..., 2])) for poses in (pose, others))
    return boxes_touch(others[..., :2] - pose[..., :2], *headings, size[:2] / 2, sizes[:, :2] / 2, margin_m=CLEAR_M)


class _Placed:
    """The boxes of an ego and of agents that touch neither it nor each other. rows: of the agents,
    as they were added.
    """

    def __init__(self, ego: Float64[np.ndarray, "T 3"], body: Body) -> None:
        self.rows: list[int] = []
        self._poses, self._sizes = body.centre(ego)[:, None], np.array([body.size_m])

    def try_add(self, row: int, pose: Float64[np.ndarray, "T 3"], size: Float64[np.ndarray, "3"]) -> bool:
        """Add an agent if it touches no other agent; return whether it was added."""
        if touches(pose, size, self._poses, self._sizes).any():
            return False
        self.rows.append(row)
        self._poses = np.concatenate([self._poses, pose[:, None]], 1)
        self._sizes = np.concatenate([self._sizes, size[None]])
        return True


def _steps(rng, count: int, hold_s: tuple[float, float], draw) -> Float64[np.ndarray, "n"]:
    """Values of draw(), each held for a time drawn from hold_s, on the grid of FINE_S."""
    values: list[float] = []
    while len(values) < count:
        values += [draw()] * max(1, round(rng.uniform(*hold_s) / FINE_S))
    return np.array(values[:count])


def _offsets(
    rng,
    s: Float64[np.ndarray, "n"],
    speed: Float64[np.ndarray, "n"],
    motion: IndependentMotion,
    bounds: tuple[float, float],
) -> tuple[Float64[np.ndarray, "n"], Float64[np.ndarray, "n"]]:
    """Lateral offsets and their slopes over s: half cosine waves between random offsets, so a
    standing ego does not slide.
    """
    d, slope = np.empty(len(s)), np.zeros(len(s))
    index, here = 0, rng.uniform(*bounds)
    while index < len(s):
        stop = min(len(s), index + round(rng.uniform(*motion.offset_s) / FINE_S))
        length = max(s[stop - 1] - s[index], 1e-3)
        fastest = max(float(speed[index:stop].max()), 1.0)
        # A half cosine wave over `length` has the lateral acceleration change * (pi v / length)^2 / 2 at its ends.
        bound = min(2 * motion.lateral_mps2 * (length / (np.pi * fastest)) ** 2, 0.2 * length)
        target = here + np.clip(rng.uniform(*bounds) - here, -bound, bound)
        share = (s[index:stop] - s[index]) / length
        d[index:stop] = here + (target - here) * (1 - np.cos(np.pi * share)) / 2
        slope[index:stop] = (target - here) * np.pi / (2 * length) * np.sin(np.pi * share)
        index, here = stop, target
    return d, slope
