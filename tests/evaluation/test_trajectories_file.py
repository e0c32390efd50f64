"""trajectories.npz: plans of any sampling read back, and nothing is unpickled."""

import numpy as np
import pytest

from latentdrive.errors import ConfigError
from latentdrive.evaluation.trajectories_file import TRAJECTORIES, read_trajectories, write_trajectories
from latentdrive.types import Trajectory


def plan(poses: int, dt_s: float, start: float) -> Trajectory:
    return Trajectory(poses=start + np.arange(3.0 * poses).reshape(poses, 3), dt_s=dt_s)


def test_plans_of_several_samplings_come_back_in_float32(tmp_path):
    plans = {"a": plan(8, 0.5, 0.0), "b": plan(40, 0.1, 1.0), "ä c": plan(8, 0.5, 2.0)}
    write_trajectories(tmp_path / TRAJECTORIES, plans)
    again = read_trajectories(tmp_path / TRAJECTORIES)
    assert set(again) == set(plans)
    for token, trajectory in plans.items():
        assert again[token].dt_s == trajectory.dt_s and again[token].poses.dtype == np.float32
        np.testing.assert_array_equal(again[token].poses, trajectory.poses.astype(np.float32))
    with np.load(tmp_path / TRAJECTORIES, allow_pickle=False) as file:
        assert file["poses_0"].shape == (2, 8, 3) and all(file[name].dtype != object for name in file.files)


def test_no_plan_at_all_is_an_empty_file(tmp_path):
    write_trajectories(tmp_path / TRAJECTORIES, {})
    assert read_trajectories(tmp_path / TRAJECTORIES) == {}


def test_the_same_plans_make_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        write_trajectories(tmp_path / name, {"t": plan(8, 0.5, 0.0)})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_missing_or_damaged_file_is_an_error_that_says_what_to_repeat(tmp_path):
    file = tmp_path / TRAJECTORIES
    with pytest.raises(ConfigError, match=r"is missing, .*repeat the evaluation with out="):
        read_trajectories(file)
    write_trajectories(file, {"t": plan(8, 0.5, 0.0)})
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(ConfigError, match=r"is damaged .*repeat the evaluation with out="):
        read_trajectories(file)
    np.savez(file.open("wb"), tokens_0=np.array(["a", "b"]), poses_0=np.zeros((1, 8, 3)), dt_s_0=np.array(0.5))
    with pytest.raises(ConfigError, match="2 tokens for poses of shape"):
        read_trajectories(file)
