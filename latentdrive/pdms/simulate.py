"""How NAVSIM's car follows a trajectory: an LQR tracker and a kinematic bicycle, over whole batches (spec section 3).

After reference_poses.py; every sub-score looks at these states. The tracker's ten-step roll-out is written in closed form: its matrices
are polynomials of the speed and the commanded acceleration, so a step costs some forty operations whatever the batch. The speed
profile is one constant matrix times the displacements; the curvature profile is the solution of one tridiagonal system.
Arrays are time-major inside: [step, trajectory].
"""

import math
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

HORIZON = 10  # steps that the tracker looks ahead
STANDSTILL_MPS = 0.2  # at or below it the stopping controller brakes and holds the wheel
STOPPING_GAIN, TRACKING_GAIN = 0.5, 10.0 / 11.0
LATERAL_COST, HEADING_COST = 1.0, 10.0  # the steering rate costs 1
ACCELERATION_LAG_S, STEERING_LAG_S = 0.2, 0.05
STEERING_LIMIT = math.pi / 3
STEP = 100_000 * 1e-6  # one ulp below 0.1, the bicycle's step in the reference
SPEED_SMOOTHING, CURVATURE_SMOOTHING, FIRST_CURVATURE = 1e-4, 1e-2, 1e-10
MOVES = STEPS - 1
TURN = 2 * math.pi


def simulate(start: Float[Tensor, "R 11"], follow: Float[Tensor, "R 41 3"]) -> Float[Tensor, "R 41 11"]:
    """States of the car that starts at `start` and follows `follow`, in the frame of both. Row 0 is the start, unchanged.

    On a CPU the loops over time run in numpy, whose call on a small array takes a fifth of torch's; elsewhere in torch.
    """
    if start.device.type == "cpu":
        return torch.from_numpy(_simulate(start.numpy(), follow.numpy(), np))
    return _simulate(start, follow, torch)


class _Plan(NamedTuple):
    """What the tracker does at each step with lateral, heading and steering error, as far as it doesn't depend on them.

    After ten steps lateral = lateral + reach * heading + sway * steering + drift, heading = heading + turn * steering + bend; the
    steering rate is -(lateral_gain * lateral + heading_gain * heading).
    """

    reach: Any
    sway: Any
    drift: Any
    turn: Any
    bend: Any
    lateral_gain: Any
    heading_gain: Any


def _simulate(start: Any, follow: Any, xp: Any) -> Any:
    x, y, heading = (_contiguous(follow[:, :, k].T) for k in range(3))
    path = (x, y, heading, xp.sin(heading), xp.cos(heading))
    speed, curvature = _profiles(path, xp)
    states = _contiguous(xp.moveaxis(start[:, :, None] + xp.zeros_like(follow[:, None, :, 0]), (0, 1, 2), (2, 1, 0)))
    states[1:] = 0.0  # step, column, trajectory
    command, stopping = _drive(states, speed, xp)
    _steer(states, path, _plan(states[:-1, VX], command, stopping, curvature, xp), xp)
    states[1:, YAW_RATE] = states[1:, VX] * xp.tan(states[1:, STEERING]) / WHEEL_BASE_M
    states[1:, YAW_ACCELERATION] = (states[1:, YAW_RATE] - states[:-1, YAW_RATE]) / STEP
    return xp.moveaxis(states, (0, 1, 2), (1, 2, 0))


def _profiles(path: tuple[Any, ...], xp: Any) -> tuple[Any, Any]:
    """Speed and curvature of the reference at its 40 displacements (3.1)."""
    x, y, heading, sin, cos = path
    along = cos[:-1] * (x[1:] - x[:-1]) + sin[:-1] * (y[1:] - y[:-1])
    speed = _constant(SPEED_FIT, along) @ along
    turns = _wrap(heading[1:] - heading[:-1], xp)
    return speed, _curvature(speed * STEP_S, turns, xp)


def _curvature(length: Any, turns: Any, xp: Any) -> Any:
    """Minimum of |turns - length * K|^2 + smoothing on the changes of K: a tridiagonal system, solved from both ends."""
    couple = CURVATURE_SMOOTHING / STEP_S**2
    diagonal, right = length * length, length * turns
    diagonal[0] += FIRST_CURVATURE + couple
    diagonal[1:-1] += 2 * couple
    diagonal[-1] += couple
    for i in range(1, MOVES):
        share = couple / diagonal[i - 1]
        diagonal[i] -= share * couple
        right[i] += share * right[i - 1]
    curvature = xp.zeros_like(right)
    curvature[-1] = right[-1] / diagonal[-1]
    for i in range(MOVES - 2, -1, -1):
        curvature[i] = (right[i] + couple * curvature[i + 1]) / diagonal[i]
    return curvature


def _drive(states: Any, speed: Any, xp: Any) -> tuple[Any, Any]:
    """Fill speed and acceleration; returns the commanded acceleration and whether the car is being stopped, a step (3.2, 3.3)."""
    share = STEP / (STEP + ACCELERATION_LAG_S)
    aim = speed[AIM]
    may_stop = aim <= STANDSTILL_MPS
    command, stopping = xp.zeros_like(aim), xp.zeros_like(may_stop)
    for k in range(MOVES):
        v, a = states[k, VX], states[k, AX]
        stopping[k] = may_stop[k] & (v <= STANDSTILL_MPS)
        command[k] = xp.where(stopping[k], -STOPPING_GAIN, -TRACKING_GAIN) * (v - aim[k])
        states[k + 1, AX] = a + share * (command[k] - a)
        states[k + 1, VX] = v + STEP * states[k + 1, AX]
    return command, stopping


def _plan(v: Any, command: Any, stopping: Any, curvature: Any, xp: Any) -> _Plan:
    """The roll-out of 3.2 in closed form; it goes on at v + j * command * dt at its step j."""
    gain = command * STEP_S
    vv, vg, gg = v * v, v * gain, gain * gain
    once, linear, squared, mixed, crossed = (_constant(one, curvature) @ curvature for one in BENDS)
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


def _steer(states: Any, path: tuple[Any, ...], plan: _Plan, xp: Any) -> None:
    """Fill position, heading, steering and its rate (3.2, 3.3)."""
    x_to, y_to, heading_to, sin_to, cos_to = path
    lag = STEP / (STEP + STEERING_LAG_S)
    speed = states[:, VX]
    for k in range(MOVES):
        x, y, heading, steering = states[k, X], states[k, Y], states[k, HEADING], states[k, STEERING]
        lateral = (y - y_to[k]) * cos_to[k] - (x - x_to[k]) * sin_to[k]
        off = _wrap(heading - heading_to[k], xp)
        lateral = lateral + plan.reach[k] * off + plan.sway[k] * steering + plan.drift[k]
        off = _wrap(off + plan.turn[k] * steering + plan.bend[k], xp)
        rate = -lag * (plan.lateral_gain[k] * lateral + plan.heading_gain[k] * off)
        states[k + 1, STEERING_RATE] = rate
        states[k + 1, STEERING] = xp.clip(steering + STEP * rate, -STEERING_LIMIT, STEERING_LIMIT)
        states[k + 1, X] = x + speed[k] * xp.cos(heading) * STEP
        states[k + 1, Y] = y + speed[k] * xp.sin(heading) * STEP
        turned = heading + speed[k] * xp.tan(steering) / WHEEL_BASE_M * STEP + math.pi
        states[k + 1, HEADING] = turned - TURN * xp.floor(turned / TURN) - math.pi  # rounds as the reference does


def _wrap(angle: Any, xp: Any) -> Any:
    return angle - TURN * xp.round(angle / TURN)


def _contiguous(array: Any) -> Any:
    return array.contiguous() if isinstance(array, Tensor) else np.ascontiguousarray(array)


def _constant(values: np.ndarray, like: Any) -> Any:
    """A constant matrix where the batch lives."""
    return torch.from_numpy(values).to(like) if isinstance(like, Tensor) else values.astype(like.dtype, copy=False)


def _speed_fit() -> np.ndarray:
    """Displacements along the heading → speeds: the least squares of 3.1, whose normal matrix is the same for every trajectory."""
    after = np.tril(np.ones((MOVES, MOVES - 1)), -1)  # how often each acceleration has acted before displacement i
    to_speed = np.concatenate([np.ones((MOVES, 1)), STEP_S * after], 1)
    # Meant as first differences; the reference overwrites all but the last +1, so accelerations are pulled towards 0.
    smooth = np.zeros((MOVES - 2, MOVES))
    smooth[np.arange(MOVES - 2), np.arange(1, MOVES - 1)] = -1.0
    smooth[-1, -1] = 1.0
    model = STEP_S * to_speed
    fit = np.linalg.pinv(model.T @ model + SPEED_SMOOTHING * smooth.T @ smooth, rcond=1e-15) @ model.T
    return to_speed @ fit


def _bends() -> tuple[np.ndarray, ...]:
    """Curvatures → the five sums over the tracker's window that its roll-out needs, at every step (40 x 40 each).

    The window of step k holds curvatures k to k + 9, the last one repeated. With weights i of its entries: 1, i, and the factors of
    v^2, v * gain and gain^2 in the sum over i < j of (v + i * gain) (v + j * gain).
    """
    later = np.array([LADDER[LADDER > i].sum() for i in LADDER])
    behind = HORIZON - 1 - LADDER
    weights = (np.ones(HORIZON), LADDER, behind, LADDER * behind + later, LADDER * later)
    matrices = [np.zeros((MOVES, MOVES)) for _ in weights]
    for k in range(MOVES):
        for i in range(HORIZON):
            for matrix, weight in zip(matrices, weights):
                matrix[k, min(k + i, MOVES - 1)] += weight[i]
    return tuple(matrices)


def _push() -> tuple[float, ...]:
    """Factors of v^2, v * gain and gain^2 in the sum over i < j of (v + j * gain) (v + i * gain) i: a held steering rate, sideways."""
    i, j = np.meshgrid(LADDER, LADDER, indexing="ij")
    before = i < j
    return tuple(float(term[before].sum()) for term in (i, (i + j) * i, i * i * j))


LADDER = np.arange(HORIZON, dtype=np.float64)
AIM = np.minimum(np.arange(MOVES) + HORIZON, MOVES - 1)  # displacement whose speed is aimed at, a step
SPEED_FIT, BENDS, PUSH = _speed_fit(), _bends(), _push()
