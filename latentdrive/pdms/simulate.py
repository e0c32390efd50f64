"""How NAVSIM's car follows reference poses: an LQR tracker and a kinematic bicycle, for whole batches.

Specified in docs/pdms.md, section 3. All sub-scores are computed from the resulting states. The
tracker's ten-step prediction is written in closed form: its matrices are polynomials of the speed
and the commanded acceleration, so a step costs some forty operations for any batch. The speed
profile is a constant matrix times the displacements, and the curvature profile is the solution of a
tridiagonal system. Arrays are time-major inside: [step, trajectory].
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from latentdrive.nuplan_vehicle import WHEEL_BASE_M
from latentdrive.pdms.scene import (
    AX,
    HEADING,
    STEERING,
    STEERING_RATE,
    STEP_S,
    STEPS,
    VX,
    YAW_ACCELERATION,
    YAW_RATE,
    X,
    Y,
)

HORIZON = 10  # steps by which the tracker looks ahead
STANDSTILL_MPS = 0.2  # up to this speed the stopping controller brakes and holds the wheel
STOPPING_GAIN, TRACKING_GAIN = 0.5, 10.0 / 11.0
LATERAL_COST, HEADING_COST = 1.0, 10.0  # the steering rate costs 1
ACCELERATION_LAG_S, STEERING_LAG_S = 0.2, 0.05
STEERING_LIMIT = math.pi / 3
STEP = 100_000 * 1e-6  # one ulp below 0.1: the devkit's step of the bicycle
SPEED_SMOOTHING, CURVATURE_SMOOTHING, FIRST_CURVATURE = 1e-4, 1e-2, 1e-10
MOVES = STEPS - 1
TURN = 2 * math.pi
FEW = 6  # up to this many trajectories are faster one by one


def simulate(start: Float[Tensor, "R 11"], follow: Float[Tensor, "R 41 3"]) -> Float[Tensor, "R 41 11"]:
    """States of the car that starts at `start` and follows `follow`, in the frame of both.

    Row 0 is the start, unchanged.

    On a CPU, the loops over time run in numpy, where a call on a small array takes a fifth of the
    time of a call in torch. A few trajectories run one by one on plain floats, which take a tenth
    of that again. Other devices use torch. The same lines serve all three.
    """
    if start.device.type != "cpu":
        return _simulate(start, follow, torch)
    start, follow = start.numpy(), follow.numpy()
    alone = [slice(k, k + 1) for k in range(len(start))] if len(start) <= FEW else [slice(None)]
    return torch.from_numpy(np.concatenate([_simulate(start[rows], follow[rows], np) for rows in alone]))


class _Plan(NamedTuple):
    """Coefficients of the tracker at each step; they do not depend on errors and steering.

    After ten steps, the predicted errors are lateral + reach * heading + sway * steering + drift
    and heading + turn * steering + bend. From these, the steering rate is -(lateral_gain * lateral
    + heading_gain * heading).
    """

    reach: Any
    sway: Any
    drift: Any
    turn: Any
    bend: Any
    lateral_gain: Any
    heading_gain: Any


class _Functions(NamedTuple):
    """The functions that the loops over time use, for rows of an array or tensor, or for floats."""

    sin: Callable
    cos: Callable
    tan: Callable
    round: Callable
    floor: Callable
    clip: Callable
    where: Callable


def _functions(xp: Any) -> _Functions:
    return _Functions(xp.sin, xp.cos, xp.tan, xp.round, xp.floor, xp.clip, xp.where)


# Trigonometry comes from numpy here too, because the standard library's differs in the last bits.
FLOATS = _Functions(
    sin=lambda x: float(np.sin(x)),
    cos=lambda x: float(np.cos(x)),
    tan=lambda x: float(np.tan(x)),
    round=round,
    floor=math.floor,
    clip=lambda x, low, high: low if x < low else high if x > high else x,
    where=lambda chosen, a, b: a if chosen else b,
)


def _simulate(start: Any, follow: Any, xp: Any) -> Any:
    """The simulation, with numpy or torch as `xp`.

    Columns of a single trajectory are turned into lists of floats and back.
    """
    x, y, heading = (_contiguous(follow[:, :, k].T) for k in range(3))
    path = (x, y, heading, xp.sin(heading), xp.cos(heading))
    speed, turns = _profiles(path, xp)
    single = xp is np and len(start) == 1
    fn, rows = (FLOATS, _floats) if single else (_functions(xp), _same)
    curvature = _stacked(_curvature(rows(speed * STEP_S), rows(turns)), start, xp)
    first = rows(start.T)
    v, a, command, stopping = (
        _stacked(series, start, xp) for series in _speeds(first[VX], first[AX], rows(speed[AIM]), fn)
    )
    plan = _plan(v[:-1], command, stopping, curvature, xp)
    moved = _steer(first, [rows(column) for column in path], rows(v), _Plan(*map(rows, plan)), fn)
    x, y, heading, steering, rate = (_stacked(series, start, xp) for series in moved)
    yaw_rate = v * xp.tan(steering) / WHEEL_BASE_M
    yaw_rate[0] = start[:, YAW_RATE]
    states = xp.zeros_like(follow[:, :, :1]) + xp.zeros_like(start[:, None])
    columns = {X: x, Y: y, HEADING: heading, VX: v, AX: a, STEERING: steering, YAW_RATE: yaw_rate}
    for column, values in columns.items():
        states[:, :, column] = values.T
    states[:, 1:, STEERING_RATE] = rate.T
    states[:, 1:, YAW_ACCELERATION] = ((yaw_rate[1:] - yaw_rate[:-1]) / STEP).T
    states[:, 0] = start
    return states


def _profiles(path: tuple[Any, ...], xp: Any) -> tuple[Any, Any]:
    """Speed and turn of the reference at its 40 displacements (section 3.1)."""
    x, y, heading, sin, cos = path
    along = cos[:-1] * (x[1:] - x[:-1]) + sin[:-1] * (y[1:] - y[:-1])
    return _constant(SPEED_FIT, along) @ along, _wrap(heading[1:] - heading[:-1], xp.round)


def _curvature(length: Any, turns: Any) -> list[Any]:
    """The curvatures K that minimise |turns - length * K|² plus a penalty on changes of K: a tridiagonal system."""
    couple, last = CURVATURE_SMOOTHING / STEP_S**2, MOVES - 1
    extra = [FIRST_CURVATURE + couple, *[2 * couple] * (MOVES - 2), couple]
    diagonal, right = [length[0] * length[0] + extra[0]], [length[0] * turns[0]]
    for i in range(1, MOVES):
        share = couple / diagonal[i - 1]
        diagonal.append(length[i] * length[i] + extra[i] - share * couple)
        right.append(length[i] * turns[i] + share * right[i - 1])
    curvature = [right[last] / diagonal[last]]
    for i in range(last - 1, -1, -1):
        curvature.append((right[i] + couple * curvature[-1]) / diagonal[i])
    return curvature[::-1]


def _speeds(v: Any, a: Any, aim: Any, fn: _Functions) -> tuple[list[Any], ...]:
    """Speeds, accelerations, commanded accelerations, and whether the car is being stopped
    (sections 3.2 and 3.3).
    """
    share = STEP / (STEP + ACCELERATION_LAG_S)
    speeds, accelerations, commands, stopping = [v], [a], [], []
    for k in range(MOVES):
        stop = (aim[k] <= STANDSTILL_MPS) & (v <= STANDSTILL_MPS)
        error = v - aim[k]
        command = fn.where(stop, -STOPPING_GAIN * error, -TRACKING_GAIN * error)
        a = a + share * (command - a)
        v = v + STEP * a
        for series, value in ((speeds, v), (accelerations, a), (commands, command), (stopping, stop)):
            series.append(value)
    return speeds, accelerations, commands, stopping


def _plan(v: Any, command: Any, stopping: Any, curvature: Any, xp: Any) -> _Plan:
    """The prediction of section 3.2 in closed form; at its step j the speed is v + j * command * dt."""
    gain = command * STEP_S
    vv, vg, gg = v * v, v * gain, gain * gain
    once, linear, squared, mixed, crossed = (_constant(matrix, curvature) @ curvature for matrix in BENDS)
    reach = STEP_S * (HORIZON * v + LADDER.sum() * gain)
    squares = STEP_S**2 * (HORIZON * vv + 2 * LADDER.sum() * vg + (LADDER**2).sum() * gg)
    heading_push = STEP_S**2 / WHEEL_BASE_M * (LADDER.sum() * v + (LADDER**2).sum() * gain)
    lateral_push = STEP_S**3 / WHEEL_BASE_M * (PUSH[0] * vv + PUSH[1] * vg + PUSH[2] * gg)
    held = LATERAL_COST * lateral_push**2 + HEADING_COST * heading_push**2 + 1.0
    steers = xp.where(stopping, 0.0, 1.0) / held
    return _Plan(
        reach=reach,
        sway=(reach * reach - squares) / (2 * WHEEL_BASE_M),
        drift=-(STEP_S**2) * (vv * squared + vg * mixed + gg * crossed),
        turn=reach / WHEEL_BASE_M,
        bend=-STEP_S * (v * once + gain * linear),
        lateral_gain=LATERAL_COST * lateral_push * steers,
        heading_gain=HEADING_COST * heading_push * steers,
    )


def _steer(first: Any, path: list[Any], speed: Any, plan: _Plan, fn: _Functions) -> tuple[list[Any], ...]:
    """Position, heading and steering at every state, and the steering rate at every step (sections 3.2 and 3.3)."""
    x_to, y_to, heading_to, sin_to, cos_to = path
    lag = STEP / (STEP + STEERING_LAG_S)
    x, y, heading, steering = first[X], first[Y], first[HEADING], first[STEERING]
    xs, ys, headings, steerings, rates = [x], [y], [heading], [steering], []
    for k in range(MOVES):
        lateral = (y - y_to[k]) * cos_to[k] - (x - x_to[k]) * sin_to[k]
        off = _wrap(heading - heading_to[k], fn.round)
        lateral = lateral + plan.reach[k] * off + plan.sway[k] * steering + plan.drift[k]
        off = _wrap(off + plan.turn[k] * steering + plan.bend[k], fn.round)
        rate = -lag * (plan.lateral_gain[k] * lateral + plan.heading_gain[k] * off)
        x = x + speed[k] * fn.cos(heading) * STEP
        y = y + speed[k] * fn.sin(heading) * STEP
        turned = heading + speed[k] * fn.tan(steering) / WHEEL_BASE_M * STEP + math.pi
        heading = turned - TURN * fn.floor(turned / TURN) - math.pi  # rounds as the devkit does
        steering = fn.clip(steering + STEP * rate, -STEERING_LIMIT, STEERING_LIMIT)
        for series, value in ((xs, x), (ys, y), (headings, heading), (steerings, steering), (rates, rate)):
            series.append(value)
    return xs, ys, headings, steerings, rates


def _wrap(angle: Any, rounded: Callable) -> Any:
    return angle - TURN * rounded(angle / TURN)


def _same(rows: Any) -> Any:
    return rows


def _floats(rows: np.ndarray) -> list[float]:
    return rows[:, 0].tolist()


def _stacked(series: list[Any], like: Any, xp: Any) -> Any:
    """Steps of a series as rows of one array: [step, trajectory]."""
    if isinstance(series[0], float | bool | int):
        return np.array(series)[:, None]
    return xp.stack(series)


def _contiguous(array: Any) -> Any:
    return array.contiguous() if isinstance(array, Tensor) else np.ascontiguousarray(array)


def _constant(values: np.ndarray, like: Any) -> Any:
    """A constant matrix, of the kind and on the device of `like`."""
    return torch.from_numpy(values).to(like) if isinstance(like, Tensor) else values.astype(like.dtype, copy=False)


def _speed_fit() -> np.ndarray:
    """Matrix from displacements along the heading to speeds, the same for every trajectory.

    It solves the least squares of section 3.1.
    """
    after = np.tril(np.ones((MOVES, MOVES - 1)), -1)  # how often each acceleration has acted before displacement i
    to_speed = np.concatenate([np.ones((MOVES, 1)), STEP_S * after], 1)
    # Meant as first differences, but the devkit overwrites all +1 except the last, which pulls accelerations towards 0.
    smooth = np.zeros((MOVES - 2, MOVES))
    smooth[np.arange(MOVES - 2), np.arange(1, MOVES - 1)] = -1.0
    smooth[-1, -1] = 1.0
    model = STEP_S * to_speed
    fit = np.linalg.pinv(model.T @ model + SPEED_SMOOTHING * smooth.T @ smooth, rcond=1e-15) @ model.T
    return to_speed @ fit


def _bends() -> tuple[np.ndarray, ...]:
    """Matrices from curvatures to the five sums that the tracker's prediction needs, by step (40 x 40 each).

    The sums run over the tracker's window. The window of step k holds curvatures k to k + 9, the
    last one repeated. Entry i has the weights 1, i, and the factors of v², v * gain and gain² in
    the sum over i < j of (v + i * gain) (v + j * gain).
    """
    later = np.array([LADDER[i < LADDER].sum() for i in LADDER])
    behind = HORIZON - 1 - LADDER
    weights = (np.ones(HORIZON), LADDER, behind, LADDER * behind + later, LADDER * later)
    matrices = [np.zeros((MOVES, MOVES)) for _ in weights]
    for k in range(MOVES):
        for i in range(HORIZON):
            for matrix, weight in zip(matrices, weights):
                matrix[k, min(k + i, MOVES - 1)] += weight[i]
    return tuple(matrices)


def _push() -> tuple[float, ...]:
    """Factors of v², v * gain and gain² in the sum over i < j of (v + j * gain) (v + i * gain) i.

    The sum says how far a constant steering rate moves the car sideways.
    """
    i, j = np.meshgrid(LADDER, LADDER, indexing="ij")
    before = i < j
    return tuple(float(term[before].sum()) for term in (i, (i + j) * i, i * i * j))


LADDER = np.arange(HORIZON, dtype=np.float64)
AIM = np.minimum(np.arange(MOVES) + HORIZON, MOVES - 1)  # the displacement whose speed each step aims at
SPEED_FIT, BENDS, PUSH = _speed_fit(), _bends(), _push()
