"""Filters by hand: fits worked out from their definition, never by the library that makes the matrices."""

import math

import numpy as np
import pytest
import torch

from latentdrive.errors import WrongShape
from latentdrive.pdms.scene import AX, AY, HEADING
from latentdrive.pdms.sub_scores.smoothing import round8, smooth, smoothing_matrix, unwrap
from tests.support.golden_files import FILES, FOLDER, golden


def fit(samples: np.ndarray, at: float, order: int, derivative: int = 0, step: float = 1.0) -> np.ndarray:
    """Weights of the samples in a least-squares polynomial over `samples` (indices), read or differentiated at an index."""
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
                    "lon_accel": smooth(states[:, AX], 41, 2), "lat_accel": smooth(states[:, AY], 41, 2),
                    "jerk": smooth(magnitude, 41, 2, 1), "lon_jerk": smooth(forward, 41, 2, 1),
                    "yaw_accel": smooth(heading, 5, 3, 2), "yaw_rate": smooth(heading, 5, 2, 1),
                }  # fmt: skip
                for key, expected in case["v1"]["comfort_signal_min_max"].items():
                    extremes = [round8(signals[key]).min().item(), round8(signals[key]).max().item()]
                    assert extremes == pytest.approx(expected, abs=2e-8), (case["name"], key)
