"""The simulated car (docs/pdms.md, section 3), compared with a literal ten-step loop and with the
pseudo-inverses of that section, and by hand.
"""

import math

import numpy as np
import pytest
import torch

from latentdrive.pdms.scene import (
    AX,
    AY,
    HEADING,
    STEERING,
    STEERING_RATE,
    STEPS,
    VX,
    VY,
    YAW_ACCELERATION,
    YAW_RATE,
    X,
    Y,
)
from latentdrive.pdms.simulate import SPEED_FIT, simulate

DT, H, WHEEL_BASE, MOVES = 0.1, 100000 * 1e-6, 3.089, 40


def wrap(angle: float) -> float:
    return math.atan2(math.sin(angle), math.cos(angle))


def speed_profile(path: np.ndarray) -> np.ndarray:
    """The fit of the speed in section 3.1, with two rows for each displacement."""
    model, moves = np.zeros((2 * MOVES, MOVES)), np.diff(path[:, :2], axis=0).reshape(-1)
    for i in range(MOVES):
        along = np.array([np.cos(path[i, 2]), np.sin(path[i, 2])])
        model[2 * i : 2 * i + 2, 0] = DT * along
        for j in range(1, i + 1):
            model[2 * i : 2 * i + 2, j] = DT**2 * along
    smooth = np.zeros((38, 40))
    for i in range(38):
        smooth[i, 1 + i] = -1.0
    smooth[37, 39] = 1.0
    fit = np.linalg.pinv(model.T @ model + 1e-4 * smooth.T @ smooth) @ model.T @ moves
    return fit[0] + DT * np.concatenate([[0.0], np.cumsum(fit[1:])])


def curvature_profile(path: np.ndarray, speed: np.ndarray) -> np.ndarray:
    """The fit of the curvature in section 3.1."""
    turns = np.array([wrap(b - a) for a, b in zip(path[:-1, 2], path[1:, 2])])
    model = np.zeros((MOVES, MOVES))
    for i in range(MOVES):
        model[i, 0] = speed[i] * DT
        model[i, 1 : i + 1] = speed[i] * DT**2
    costs = np.diag([1e-10, *[1e-2] * 39])
    fit = np.linalg.pinv(model.T @ model + costs) @ model.T @ turns
    return fit[0] + DT * np.concatenate([[0.0], np.cumsum(fit[1:])])


def commands(k: int, state: np.ndarray, path: np.ndarray, speed: np.ndarray, curvature: np.ndarray) -> tuple:
    """Acceleration and steering rate of section 3.2. The prediction is unrolled step by step."""
    m = min(k + 10, 39)
    aim, v = speed[m], state[VX]
    if aim <= 0.2 and v <= 0.2:
        return -0.5 * (v - aim), 0.0
    acceleration = -(10.0 * (v - aim)) / 11.0
    window = [curvature[k + j] if j < m - k else curvature[m] for j in range(10)]
    dx, dy, ref = state[X] - path[k, 0], state[Y] - path[k, 1], path[k, 2]
    error = np.array([-dx * np.sin(ref) + dy * np.cos(ref), wrap(state[HEADING] - ref), state[STEERING]])
    a, b, g = np.eye(3), np.zeros(3), np.zeros(3)
    for j in range(10):
        u = v + j * DT * acceleration
        step = np.eye(3)
        step[0, 1], step[1, 2] = u * DT, u * DT / WHEEL_BASE
        a, b, g = step @ a, step @ b + [0, 0, DT], step @ g + [0, -u * window[j] * DT, 0]
    x = a @ error + g
    x[1:] = [wrap(angle) for angle in x[1:]]
    costs = np.diag([1.0, 10.0, 0.0])
    return acceleration, -(b @ costs @ x) / (b @ costs @ b + 1.0)


def states_by_the_formulas(start: np.ndarray, path: np.ndarray) -> np.ndarray:
    """States of one trajectory, as docs/pdms.md, sections 3.1 to 3.3, says it."""
    speed = speed_profile(path)
    curvature = curvature_profile(path, speed)
    states = [start]
    for k in range(MOVES):
        old, new = states[-1], np.zeros(11)
        acceleration, steering_rate = commands(k, old, path, speed, curvature)
        new[AX] = old[AX] + H / (H + 0.2) * (acceleration - old[AX])
        ideal = old[STEERING] + H * steering_rate
        rate = (old[STEERING] + H / (H + 0.05) * (ideal - old[STEERING]) - old[STEERING]) / H
        new[X] = old[X] + H * old[VX] * np.cos(old[HEADING])
        new[Y] = old[Y] + H * old[VX] * np.sin(old[HEADING])
        turned = old[HEADING] + H * old[VX] * np.tan(old[STEERING]) / WHEEL_BASE
        new[HEADING] = (turned + np.pi) % (2 * np.pi) - np.pi
        new[VX] = old[VX] + H * new[AX]
        new[STEERING] = np.clip(old[STEERING] + H * rate, -np.pi / 3, np.pi / 3)
        new[STEERING_RATE] = rate
        new[YAW_RATE] = new[VX] * np.tan(new[STEERING]) / WHEEL_BASE
        new[YAW_ACCELERATION] = (new[YAW_RATE] - old[YAW_RATE]) / H
        states.append(new)
    return np.stack(states)


def straight(speed: float = 8.0, heading: float = 0.0, left: float = 0.0) -> np.ndarray:
    """41 poses at constant speed, `left` metres beside the origin."""
    way = speed * DT * np.arange(STEPS)
    x, y = np.cos(heading), np.sin(heading)
    return np.stack([way * x - left * y, way * y + left * x, np.full(STEPS, heading)], -1)


def bend(speed: float, radius: float) -> np.ndarray:
    angle = speed * DT * np.arange(STEPS) / radius
    return np.stack([radius * np.sin(angle), radius * (1 - np.cos(angle)), angle], -1)


def start(speed: float = 8.0, **columns: float) -> np.ndarray:
    state = np.zeros(11)
    state[VX] = speed
    for name, value in columns.items():
        state[{"x": X, "y": Y, "heading": HEADING, "vy": VY, "ax": AX, "ay": AY}[name]] = value
    return state


def run(first: np.ndarray, *paths: np.ndarray) -> np.ndarray:
    starts = torch.from_numpy(np.tile(first, (len(paths), 1)))
    return simulate(starts, torch.from_numpy(np.stack(paths))).numpy()


PATHS = {
    "straight": straight(),
    "bend": bend(8.0, 30.0),
    "tight bend": bend(5.0, -7.0),
    "stops": straight() * np.linspace(1, 0.3, STEPS)[:, None],
    "stands": straight(0.0),
    "reverses": straight(-3.0),
    "beside": straight(left=3.0),
    "across half a turn": straight(heading=3.1),
    "turned away": straight() + np.array([0.0, 0.0, 2.5]),
    "zigzag": straight() + np.stack([np.zeros(STEPS), np.sin(np.arange(STEPS)), 0.4 * np.sin(np.arange(STEPS))], -1),
    "far behind": straight() - np.array([50.0, 20.0, 0.0]),
}


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("speed", [8.0, 0.1, 0.0])
def test_states_are_those_of_the_specification_read_to_the_letter(name: str, speed: float):
    first = start(speed, ax=0.7, vy=0.3, ay=-0.2, heading=3.05 if name == "across half a turn" else 0.1)
    ours = run(first, PATHS[name])[0]
    np.testing.assert_allclose(ours, states_by_the_formulas(first, PATHS[name]), rtol=0, atol=1e-8)


def test_the_constant_speed_fit_is_the_pseudo_inverse():
    rng = np.random.default_rng(0)
    for path in (*PATHS.values(), rng.normal(size=(STEPS, 3))):
        moves, heading = np.diff(path[:, :2], axis=0), path[:-1, 2]
        along = np.cos(heading) * moves[:, 0] + np.sin(heading) * moves[:, 1]
        np.testing.assert_allclose(SPEED_FIT @ along, speed_profile(path), rtol=0, atol=1e-11)


def test_row_0_is_the_start_unchanged_and_later_rows_slip_nowhere():
    first = start(8.0, x=3.0, y=-1.0, vy=0.4, ax=0.5, ay=0.6)
    states = run(first, straight())[0]
    assert states[0].tolist() == first.tolist()
    assert not states[1:, [VY, AY]].any()
    assert first.tolist() == start(8.0, x=3.0, y=-1.0, vy=0.4, ax=0.5, ay=0.6).tolist()  # the input stays as it was


def test_a_straight_line_at_the_cars_own_speed_stays_straight():
    states = run(start(8.0), straight(8.0))[0]
    np.testing.assert_allclose(states[:, :3], straight(8.0), rtol=0, atol=0.01)
    np.testing.assert_allclose(states[:, Y:VX], 0.0, rtol=0, atol=1e-12)


@pytest.mark.parametrize("left", [1.0, -2.0])
def test_a_start_beside_the_path_converges(left: float):
    states = run(start(10.0), straight(10.0, left=left))[0]
    away = np.abs(states[:, Y] - left)
    assert away[0] == abs(left)
    assert away[-1] < 0.15 * abs(left)
    assert abs(states[-1, HEADING]) < 0.5 * np.abs(states[:, HEADING]).max()


def test_the_first_step_by_hand():
    # At 8 m/s towards 10: command (10 / 11) * 2 = 1.818, of which 0.1 / 0.3 arrives: 0.606, and the speed gains 0.0606.
    states = run(start(8.0), straight(10.0))[0]
    assert states[1, X] == pytest.approx(0.8, abs=1e-12)
    assert states[1, AX] == pytest.approx(20 / 33, abs=1e-3)  # the fit pulls speeds a little towards constant ones
    assert states[1, VX] == pytest.approx(8.0 + H * states[1, AX], abs=1e-12)


def test_the_stopping_controller_brakes_gently_and_holds_the_wheel():
    # Standing reference beside the car, 0.2 m/s: command -0.5 * 0.2 = -0.1, a third of it arrives; no steering at all.
    states = run(start(0.2), straight(0.0, left=2.0))[0]
    assert states[1, AX] == pytest.approx(-0.1 / 3, abs=1e-9)
    assert not states[:, [STEERING, STEERING_RATE, YAW_RATE]].any()
    faster = run(start(0.21), straight(0.0, left=2.0))[0]  # above the threshold it is tracked
    assert faster[1, AX] == pytest.approx(-10 / 11 * 0.21 / 3, abs=1e-9)
    assert faster[1, STEERING] > 0


def test_a_reversing_reference_reverses_the_car():
    assert run(start(0.0), straight(-3.0))[0, -1, VX] < -2.0


def test_steering_stops_at_60_degrees():
    sharp = bend(6.0, 1.0)
    sharp[:, 2] = (sharp[:, 2] + np.pi) % (2 * np.pi) - np.pi
    steering = run(start(6.0), sharp, sharp * [1, -1, -1])[:, :, STEERING]
    assert steering.max() == pytest.approx(np.pi / 3, abs=1e-12) and steering.min() == pytest.approx(
        -np.pi / 3, abs=1e-12
    )
    assert np.abs(steering).max() <= np.pi / 3


def test_headings_stay_between_minus_pi_and_pi():
    round_and_round = bend(10.0, 8.0)
    heading = run(start(10.0), round_and_round)[0, :, HEADING]
    assert (heading >= -np.pi).all() and (heading < np.pi).all()
    assert np.abs(np.diff(heading)).max() > 6.0  # it did go across


@pytest.mark.parametrize("count", [1, 2, 6, 7, 40])
def test_one_by_one_on_floats_and_in_a_batch_are_the_same(count: int):
    paths = [list(PATHS.values())[k % len(PATHS)] + 0.01 * k for k in range(count)]
    first = start(6.0, ax=0.4)
    together = run(first, *paths)
    for states, path in zip(together, paths):
        np.testing.assert_allclose(states, run(first, path)[0], rtol=0, atol=1e-9)


def test_far_from_the_origin_the_car_drives_the_same():
    # UTM coordinates carry 1e-9 m; what is left of it after 4 s stays far below a micrometre.
    place = np.array([664_430.0, 3_997_650.0, 0.0])
    first = start(8.0)
    far = run(first + np.append(place, np.zeros(8)), bend(8.0, 30.0) + place)[0]
    np.testing.assert_allclose(far[:, :3] - place, run(first, bend(8.0, 30.0))[0, :, :3], rtol=0, atol=1e-7)
