"""Comfort by hand (docs/pdms.md, sections 6.7 and 6.8): six signals, strict bounds, history, and the filters.

Expected outputs of filters are fits worked out from their definition, never by the library that
makes the matrices.
"""

import math

import numpy as np
import pytest
import torch

from latentdrive.errors import WrongShape
from latentdrive.geometry import wrap_angle
from latentdrive.pdms.scene import AX, AY, HEADING, YAW_ACCELERATION, YAW_RATE
from latentdrive.pdms.score import HC, C
from latentdrive.pdms.sub_scores.comfort import (
    BOUNDS,
    comfort,
    comfort_signals,
    history_comfort,
    history_comfort_signals,
    round8,
    smooth,
    smoothing_matrix,
    unwrap,
    within_bounds,
)
from tests.support.golden_files import FILES, FOLDER, golden
from tests.support.made_scenes import TIMES, accelerating, circling, driving, judged, made_scene

LONGITUDINAL, LATERAL, JERK, LONGITUDINAL_JERK, YAW_ACC, YAW = range(6)


def tensor(states: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(states)


def turning(heading: np.ndarray) -> np.ndarray:
    """States that only turn."""
    states = np.zeros((len(heading), 11))
    states[:, HEADING] = heading
    return states


def calm(rows: int = 14) -> np.ndarray:
    """A history without any acceleration."""
    return np.zeros((rows, 11))


def both(states: np.ndarray, rows: int = 14) -> tuple[float, float]:
    """Comfort of v1, and history comfort of v2 after a history that repeats the first state."""
    history = np.tile(states[0], (rows, 1))
    return comfort(tensor(states)).item(), history_comfort(tensor(states), tensor(history)).item()


def test_the_bounds_are_those_of_the_specification():
    assert BOUNDS == ((-4.05, 2.40), (-4.89, 4.89), (-8.37, 8.37), (-4.13, 4.13), (-1.93, 1.93), (-0.95, 0.95))


@pytest.mark.parametrize("which", range(6))
@pytest.mark.parametrize("side", [0, 1])
def test_a_signal_on_its_bound_fails_and_one_within_it_does_not(which: int, side: int):
    for shift, expected in ((0.0, False), (-1e-8, True), (1e-8, False)):
        signals = [torch.zeros(41, dtype=torch.float64) for _ in range(6)]
        signals[which][17] = BOUNDS[which][side] + shift * (1 if side else -1)
        assert within_bounds(tuple(signals)).tolist() == [other != which or expected for other in range(6)]


@pytest.mark.parametrize(("ax", "score"), [(2.40, 0.0), (2.39, 1.0), (-4.05, 0.0), (-4.04, 1.0)])
def test_constant_acceleration_along_the_car(ax: float, score: float):
    assert both(accelerating(ax)) == (score, score)


@pytest.mark.parametrize(("ay", "score"), [(4.89, 0.0), (4.88, 1.0), (-4.89, 0.0), (-4.88, 1.0)])
def test_constant_acceleration_across_the_car(ay: float, score: float):
    assert both(accelerating(ay=ay)) == (score, score)


@pytest.mark.parametrize(("rate", "score"), [(0.94, 1.0), (0.95, 0.0), (-0.94, 1.0), (-0.95, 0.0)])
def test_constant_yaw_rate_also_across_half_a_turn(rate: float, score: float):
    states = turning(wrap_angle(rate * TIMES + 2.0))
    assert (states[:, HEADING].min() < -2.0) == (rate > 0)  # it jumps by a whole turn
    history = turning(wrap_angle(rate * (np.arange(-14, 0) * 0.1) + 2.0))
    assert comfort(tensor(states)).item() == history_comfort(tensor(states), tensor(history)).item() == score


def test_v1_fits_one_parabola_to_accelerations():
    # 0.6 t: the parabola is exact. The jerk is 0.6, apart from the half sample by which the even window is ahead.
    signals = comfort_signals(tensor(accelerating(0.6 * TIMES)))
    torch.testing.assert_close(signals[LONGITUDINAL], tensor(0.6 * TIMES), rtol=0, atol=2e-8)
    assert (signals[LONGITUDINAL_JERK] - 0.6).abs().max() < 0.035
    torch.testing.assert_close(signals[JERK], signals[LONGITUDINAL_JERK], rtol=0, atol=0)
    # A jolt of 10 m/s^2 for one step of 41 leaves v1 unmoved; a short window is moved by it.
    jolt = np.zeros(41)
    jolt[20] = 10.0
    assert both(accelerating(jolt)) == (1.0, 0.0)


def test_jerk_along_the_car_has_a_bound_of_its_own():
    # From -4 to 2.3 m/s^2 at 5 m/s^3, for 1.26 s. Along the car that exceeds 4.13; across it, it is within
    # the norm's 8.37.
    ramp = np.clip(-4.0 + 5.0 * (TIMES - 1.0), -4.0, 2.3)
    for states, expected in ((accelerating(ramp), False), (accelerating(ay=ramp), True)):
        signals = history_comfort_signals(tensor(states), tensor(np.tile(states[0], (14, 1))))
        assert within_bounds(signals).tolist() == [which != LONGITUDINAL_JERK or expected for which in range(6)]


def test_jerk_of_the_norm_is_not_the_norm_of_the_jerk():
    # Acceleration of constant size that turns from along to across the car: the norm doesn't change.
    turn = TIMES * 2.0
    signals = comfort_signals(tensor(accelerating(2.0 * np.cos(turn), 2.0 * np.sin(turn))))
    assert signals[JERK].abs().max() == 0.0
    assert signals[LONGITUDINAL_JERK].abs().max() > 0.05


def test_yaw_acceleration_of_a_constant_one():
    # 0.5 * 0.4 t^2: a cubic through five samples differentiates it exactly. So does v2.
    states = turning(0.2 * (TIMES - 2.0) ** 2)
    signals = comfort_signals(tensor(states))
    torch.testing.assert_close(signals[YAW_ACC], torch.full((41,), 0.4, dtype=torch.float64), rtol=0, atol=1e-8)
    torch.testing.assert_close(signals[YAW], tensor(0.4 * (TIMES - 2.0)), rtol=0, atol=1e-8)
    assert comfort(tensor(states)).item() == 1.0


def test_yaw_acceleration_is_read_off_a_cubic_up_to_both_ends():
    # 0.05 t^3 turns by 0.3 t per second squared; a parabola through five samples would miss it at both ends.
    states = tensor(turning(0.05 * TIMES**3))
    expected = tensor(0.3 * np.arange(-14, 41) * 0.1)
    torch.testing.assert_close(comfort_signals(states)[YAW_ACC], expected[14:], rtol=0, atol=2e-8)
    past = tensor(turning(0.05 * (np.arange(-14, 0) * 0.1) ** 3))
    torch.testing.assert_close(history_comfort_signals(states, past)[YAW_ACC], expected, rtol=0, atol=2e-8)


def test_v2_adds_both_angular_terms_along_the_car():
    # 1.461 * (0.5^2 + 1.2) = 2.11845 above ax, nothing across.
    states = accelerating(0.25)
    states[:, YAW_RATE], states[:, YAW_ACCELERATION] = 0.5, 1.2
    signals = history_comfort_signals(tensor(states), tensor(states[:14]))
    expected = torch.full((55,), 0.25 + 1.461 * 1.45, dtype=torch.float64)
    torch.testing.assert_close(signals[LONGITUDINAL], expected, rtol=0, atol=2e-8)
    assert signals[LATERAL].abs().max() == signals[JERK].abs().max() == 0.0
    v1 = comfort_signals(tensor(states))
    torch.testing.assert_close(v1[LONGITUDINAL], torch.full((41,), 0.25, dtype=torch.float64), rtol=0, atol=2e-8)
    assert both(states + np.where(np.arange(11) == AX, 0.05, 0.0)) == (1.0, 0.0)  # 0.3 at the axle, 2.42 in the middle


def test_the_past_alone_can_be_uncomfortable():
    braking = calm()
    braking[:8, AX] = -6.0
    states = tensor(driving(5.0))
    assert history_comfort(states, tensor(calm())).item() == 1.0
    assert history_comfort(states, tensor(braking)).item() == 0.0
    assert comfort(states).item() == 1.0


def test_the_first_state_keeps_its_acceleration_across():
    # Row 0 is the log's and may hold ay; 14 calm rows before it and calm rows after it.
    states = driving(5.0)
    states[0, AY] = 30.0
    assert history_comfort(tensor(states), tensor(calm())).item() == 0.0
    states[0, AY] = 1.0
    assert history_comfort(tensor(states), tensor(calm())).item() == 1.0


def test_without_history_history_comfort_is_1():
    assert history_comfort(tensor(accelerating(9.0)), tensor(calm(0))).item() == 1.0


@pytest.mark.parametrize("rows", [14, 15])
def test_history_is_put_in_front_as_if_it_were_evenly_spaced(rows: int):
    # A ramp of ax over history and future: row k of the joined series stands 0.1 s after row k - 1.
    ramp = 0.05 * np.arange(rows + 41)
    joined = np.zeros((rows + 41, 11))
    joined[:, AY] = ramp
    signals = history_comfort_signals(tensor(joined[rows:]), tensor(joined[:rows]))
    inside = signals[LATERAL][10:-10]  # half a sample ahead, between the ends
    torch.testing.assert_close(inside, tensor(ramp[10:-10] + 0.025), rtol=0, atol=2e-8)
    torch.testing.assert_close(signals[JERK][10:-10], torch.full_like(inside, 0.5), rtol=0, atol=0.05)
    assert [len(signal) for signal in signals] == [rows + 41] * 6


def test_batches_are_judged_one_by_one():
    states = np.stack([[driving(5.0), accelerating(2.5)], [accelerating(-4.5), circling(5.0, 4.0)]])
    history = np.stack([calm()[None], calm()[None]])
    assert comfort(tensor(states)).tolist() == [[1.0, 0.0], [0.0, 0.0]]  # 5 / 4 = 1.25 rad/s
    assert history_comfort(tensor(states), tensor(history)).tolist() == [[1.0, 0.0], [0.0, 0.0]]


def test_scenes_with_histories_of_different_length_are_told_apart():
    rough = calm(15)
    rough[3:10, AX] = -6.0
    values = [judged(made_scene(history=history), driving(5.0)).terms[HC].item() for history in (calm(), rough)]
    assert values == [1.0, 0.0]
    assert judged(made_scene(generation=1), circling(5.0, 4.0)).terms[C].item() == 0.0


def fit(samples: np.ndarray, at: float, order: int, derivative: int = 0, step: float = 1.0) -> np.ndarray:
    """Weights of samples in a least-squares polynomial, read or differentiated at index `at`.
    samples: their indices.
    """
    inverse = np.linalg.pinv(np.vander(samples - at, order + 1, increasing=True))
    return inverse[derivative] * math.factorial(derivative) / step**derivative


def test_the_even_window_reads_the_fit_half_a_sample_later_and_the_ends_at_their_own_place():
    matrix = smoothing_matrix(14, 8, 2, 0, 0.1)
    for row in range(14):
        first, at = (row - 3, row + 0.5) if 4 <= row <= 9 else (0 if row < 4 else 6, float(row))
        expected = np.zeros(14)
        expected[first : first + 8] = fit(np.arange(first, first + 8), at, 2)
        np.testing.assert_allclose(matrix[row], expected, rtol=0, atol=1e-13)


def test_the_even_window_on_a_ramp_is_half_a_step_ahead_between_the_ends():
    ramp = torch.arange(12, dtype=torch.float64)
    expected = ramp + torch.tensor([0.0] * 4 + [0.5] * 4 + [0.0] * 4, dtype=torch.float64)
    torch.testing.assert_close(smooth(ramp, 8, 2), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize(("window", "order", "derivative"), [(5, 2, 1), (5, 2, 2), (5, 3, 2), (15, 2, 1), (41, 2, 1)])
def test_an_odd_window_is_centred_and_differentiates_per_second(window: int, order: int, derivative: int):
    matrix, half = smoothing_matrix(41, window, order, derivative, 0.1), window // 2
    for row in range(41):
        first = min(max(row - half, 0), 41 - window)
        expected = np.zeros(41)
        expected[first : first + window] = fit(np.arange(first, first + window), row, order, derivative, 0.1)
        np.testing.assert_allclose(matrix[row], expected, rtol=0, atol=1e-9)


def test_the_window_of_all_samples_is_one_parabola():
    seconds = torch.arange(41, dtype=torch.float64) * 0.1
    parabola = 3.0 - 2.0 * seconds + 0.5 * seconds**2
    torch.testing.assert_close(smooth(parabola, 41, 2), parabola, rtol=0, atol=1e-12)
    torch.testing.assert_close(smooth(parabola, 41, 2, 1), seconds - 2.0, rtol=0, atol=1e-11)
    waves = torch.stack([torch.sin(9.0 * seconds), parabola])[None]
    assert torch.diff(smooth(waves, 41, 2), n=3).abs().max() < 1e-12
    assert smooth(waves, 41, 2).shape == (1, 2, 41)


def test_five_samples_by_hand():
    middle = smoothing_matrix(5, 5, 2, 0, 0.1)[2]
    np.testing.assert_allclose(middle, np.array([-3, 12, 17, 12, -3]) / 35, atol=1e-14)
    rate = smoothing_matrix(5, 5, 2, 1, 0.1)[2]
    np.testing.assert_allclose(rate, np.array([-2, -1, 0, 1, 2]) / (10 * 0.1), atol=1e-13)


def test_a_window_longer_than_the_signal_is_refused():
    with pytest.raises(WrongShape, match="window 8 over 7 samples"):
        smooth(torch.zeros(7, dtype=torch.float64), 8, 2)


def test_nobody_can_spoil_the_matrix_that_all_share():
    with pytest.raises(ValueError, match="read-only"):
        smoothing_matrix(41, 8, 2, 0, 0.1)[0, 0] = 1.0


def test_headings_lose_their_turns_and_keep_a_jump_of_half_a_turn():
    pi = math.pi
    headings = torch.tensor([[3.0, -3.0, 3.1], [0.0, pi, 0.0], [0.5, 0.5 + 4 * pi, 0.6]], dtype=torch.float64)
    expected = torch.tensor([[3.0, 2 * pi - 3.0, 3.1], [0.0, pi, 0.0], [0.5, 0.5, 0.6]], dtype=torch.float64)
    torch.testing.assert_close(unwrap(headings), expected, rtol=0, atol=1e-14)
    assert unwrap(headings[:, :0]).shape == (3, 0)


def test_rounding_keeps_eight_decimals_as_numpy_does():
    values = torch.linspace(-5.0, 5.0, 10007, dtype=torch.float64) / 3
    np.testing.assert_array_equal(round8(values).numpy(), np.round(values.numpy(), 8))


@pytest.mark.skipif(not FILES, reason=f"no golden files in {FOLDER}")
@pytest.mark.parametrize("name", FILES[::6])
def test_comfort_signals_of_the_devkit_have_these_extremes(name: str):
    for number in (0, 1):
        for case in golden(name).answers(number)["cases"]:
            if "v1" in case:
                states = torch.tensor(case["simulated_states"], dtype=torch.float64)
                heading, forward = unwrap(states[:, HEADING]), round8(smooth(states[:, AX], 8, 2))
                magnitude = round8(smooth(torch.hypot(states[:, AX], states[:, AY]), 8, 2))
                signals = {
                    "lon_accel": smooth(states[:, AX], 41, 2),
                    "lat_accel": smooth(states[:, AY], 41, 2),
                    "jerk": smooth(magnitude, 41, 2, 1),
                    "lon_jerk": smooth(forward, 41, 2, 1),
                    "yaw_accel": smooth(heading, 5, 3, 2),
                    "yaw_rate": smooth(heading, 5, 2, 1),
                }
                for key, expected in case["v1"]["comfort_signal_min_max"].items():
                    extremes = [round8(signals[key]).min().item(), round8(signals[key]).max().item()]
                    assert extremes == pytest.approx(expected, abs=2e-8), (case["name"], key)
