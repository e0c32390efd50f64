"""Probes: R² by hand, planted relations are found and absent ones are not, and no drive is on both sides."""

import numpy as np
import pytest
import torch

from latentdrive.codebook.judging.probe import one_hot, probe, r2

torch.set_num_threads(1)
DRIVES, EACH, CODES = 40, 25, 8


def planted(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes [N, 2], drives [N], and speeds that the first code gives up to a little noise."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, CODES, (DRIVES * EACH, 2))
    speed = 3.0 * codes[:, 0] + 10 + rng.normal(0, 0.5, len(codes))
    return codes, np.repeat(np.arange(DRIVES), EACH), speed


def test_r2_by_hand():
    true = np.array([1.0, 2.0, 3.0, 4.0])  # squared deviations from 2.5 sum to 5
    assert r2(true, true) == 1.0
    assert r2(np.full(4, 2.5), true) == 0.0
    assert r2(np.array([1.0, 2.0, 3.0, 3.0]), true) == pytest.approx(1 - 1 / 5)
    assert r2(np.full(4, 4.5), true) == pytest.approx(1 - (5 + 4 * 4) / 5)


def test_one_hot_codes_stand_slot_by_slot():
    assert one_hot(np.array([[2, 0]]), 3).tolist() == [[0, 0, 1, 1, 0, 0]]


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_a_planted_relation_is_found(kind: str):
    codes, drives, speed = planted()
    assert probe(one_hot(codes, CODES), {"speed": speed}, drives, kind=kind, seed=0).r2["speed"] > 0.95


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_where_there_is_no_relation_none_is_found(kind: str):
    codes, drives, speed = planted()
    unrelated = np.random.default_rng(5).permutation(speed)
    assert -0.2 < probe(one_hot(codes, CODES), {"speed": unrelated}, drives, kind=kind, seed=0).r2["speed"] < 0.05


def test_only_the_mlp_finds_what_two_slots_say_together():
    codes, drives, _ = planted()
    together = ((codes[:, 0] % 2) ^ (codes[:, 1] % 2)).astype(float)
    inputs = one_hot(codes, CODES)
    assert probe(inputs, {"parity": together}, drives, kind="mlp", seed=0).r2["parity"] > 0.9
    assert probe(inputs, {"parity": together}, drives, kind="linear", seed=0).r2["parity"] < 0.05


def test_drives_are_held_out_whole():
    """An input that only names its drive predicts nothing on other drives."""
    rng = np.random.default_rng(0)
    drives = np.repeat(np.arange(DRIVES), EACH)
    target = rng.normal(size=DRIVES)[drives]
    result = probe(np.eye(DRIVES)[drives], {"target": target}, drives, kind="linear", seed=0)
    assert result.r2["target"] < 0.1
    held_out = np.unique(result.drives)
    assert len(held_out) == DRIVES // 2
    rows = np.isin(drives, held_out)
    np.testing.assert_allclose(result.true[:, 0], target[rows])
    assert (result.drives == drives[rows]).all()


def test_results_are_in_the_target_s_own_unit_and_each_target_stands_for_itself():
    codes, drives, speed = planted()
    targets = {"speed": speed, "noise": np.random.default_rng(1).normal(100, 7, len(speed)), "yaw": speed * 1e-4}
    result = probe(one_hot(codes, CODES), targets, drives, kind="linear", seed=0)
    assert np.abs(result.predicted[:, 0] - result.true[:, 0]).mean() < 0.6
    assert abs(result.predicted[:, 1].mean() - 100) < 2
    assert result.r2["speed"] == pytest.approx(result.r2["yaw"], abs=1e-6) and abs(result.r2["noise"]) < 0.05


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_few_drives_are_enough_to_choose_a_strength(kind: str):
    codes, drives, speed = planted()
    few = drives < 6
    with np.errstate(all="raise"):
        result = probe(one_hot(codes[few], CODES), {"speed": speed[few]}, drives[few], kind=kind, seed=0)
    assert result.r2["speed"] > 0.9


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_the_same_seed_gives_the_same_result_and_leaves_torch_s_generator_alone(kind: str, monkeypatch):
    monkeypatch.setattr("latentdrive.codebook.judging.probe.MLP_STEPS", 50)
    codes, drives, speed = (part[::4] for part in planted())
    torch.manual_seed(3)
    before = torch.get_rng_state()
    values = [probe(one_hot(codes, CODES), {"speed": speed}, drives, kind=kind, seed=4).r2["speed"] for _ in range(2)]
    assert values[0] == values[1]
    assert torch.equal(before, torch.get_rng_state())
