"""Submissions: the devkit's classes open what we write, and we read what they write without them."""

import pickle
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from latentdrive.data.navsim.submission import SAMPLING, TRAJECTORY, read_submission, write_submission
from latentdrive.data.pickles.names import StandIn
from latentdrive.data.pickles.writing import write_pickle
from latentdrive.errors import ConfigError, RefusedPickle
from latentdrive.types import Trajectory

ABOUT = {"team_name": "us", "authors": "a, b", "email": "a@b.c", "institution": "none", "country / region": "here"}
DEVKIT = """
import dataclasses, pathlib, pickle, sys, types
import numpy as np

def module(name):
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        sys.modules.setdefault(".".join(parts[:end]), types.ModuleType(".".join(parts[:end])))
    return sys.modules[name]

@dataclasses.dataclass(frozen=True)
class TrajectorySampling:
    num_poses: int = None
    time_horizon: float = None
    interval_length: float = None

@dataclasses.dataclass
class Trajectory:
    poses: np.ndarray
    trajectory_sampling: TrajectorySampling = None

SAMPLING = "nuplan.planning.simulation.trajectory.trajectory_sampling"
for kind, name in ((TrajectorySampling, SAMPLING), (Trajectory, "navsim.common.dataclasses")):
    kind.__module__ = name
    setattr(module(name), kind.__name__, kind)
"""  # what a process of the devkit has, by its paths


def in_devkit(code: str, *words: str) -> str:
    """Run code beside the devkit's classes, in a process of its own, with Python's own pickle."""
    done = subprocess.run([sys.executable, "-c", DEVKIT + code, *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def line(metres: float, poses: int = 8, dt_s: float = 0.5) -> Trajectory:
    return Trajectory(poses=np.linspace([0, 0, 0], [metres, 1, 0.1], poses), dt_s=dt_s)


READ = """
content = pickle.load(open(sys.argv[1], "rb"))
for key in ("predictions", "first_stage_predictions", "second_stage_predictions"):
    for predictions in content.get(key, []):
        for token, plan in predictions.items():
            s = plan.trajectory_sampling
            print(key, token, type(plan).__qualname__, plan.poses.dtype, plan.poses.shape, plan.poses[-1].tolist(),
                  s.num_poses, s.time_horizon, s.interval_length, type(s) is TrajectorySampling)
print(content["team_name"], content["country / region"])
"""


def test_the_devkit_opens_what_we_write_in_the_form_of_v1(tmp_path: Path):
    plans = {"a": line(8.0), "b": line(4.0, 40, 0.1)}
    assert write_submission(tmp_path / "s.pkl", plans, about=ABOUT, second_stage=None) == {}
    lines = in_devkit(READ, str(tmp_path / "s.pkl")).splitlines()
    assert lines[0].startswith("predictions a Trajectory float32 (8, 3) [8.0, 1.0, 0.1")
    assert lines[0].endswith(" 8 4.0 0.5 True")
    assert lines[1].endswith(" 40 4.0 0.1 True") and lines[2] == "us here"


def test_the_devkit_opens_what_we_write_in_the_form_of_v2(tmp_path: Path):
    write_submission(tmp_path / "s.pkl", {"a": line(8.0)}, about=ABOUT, second_stage={"s": line(2.0)})
    lines = in_devkit(READ, str(tmp_path / "s.pkl")).splitlines()
    entries = [["first_stage_predictions", "a"], ["second_stage_predictions", "s"]]
    assert [line.split()[:2] for line in lines[:2]] == entries


WRITE = """
def made(end, n=8):
    return Trajectory(np.linspace([0, 0, 0], [end, 1, 0.5], n).astype(np.float32), TrajectorySampling(n, 4.0, 4.0 / n))
content = {"team_name": "them", "authors": ["a", "b"], "email": "", "institution": "", "country / region": ""}
if sys.argv[2] == "v1":
    content["predictions"] = [{"a": made(1.0), "b": made(2.0, 40)}, {"a": made(9.0)}]
else:
    content["first_stage_predictions"] = [{"a": made(1.0)}]
    content["second_stage_predictions"] = [{"s": made(3.0), "a": made(4.0)}]
pickle.dump(content, open(sys.argv[1], "wb"), protocol=int(sys.argv[3]))
"""


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_what_the_devkit_writes_is_read_by_seed(tmp_path: Path, protocol: int):
    in_devkit(WRITE, str(tmp_path / "s.pkl"), "v1", str(protocol))
    submission = read_submission(tmp_path / "s.pkl", seed=0)
    assert (
        set(submission.trajectories) == {"a", "b"}
        and not submission.unusable
        and submission.about["authors"] == ["a", "b"]
    )
    poses = submission.trajectories["a"].poses
    assert poses[-1] == pytest.approx([1.0, 1.0, 0.5]) and poses.dtype == np.float32
    assert len(submission.trajectories["b"].poses) == 40 and submission.trajectories["b"].dt_s == 0.1
    assert read_submission(tmp_path / "s.pkl", seed=1).trajectories["a"].poses[-1, 0] == 9.0
    with pytest.raises(ConfigError, match="predictions holds 2 seeds, there is no number 2"):
        read_submission(tmp_path / "s.pkl", seed=2)


def test_both_stages_of_v2_are_read_and_a_token_of_both_is_named(tmp_path: Path):
    in_devkit(WRITE, str(tmp_path / "s.pkl"), "v2", "4")
    submission = read_submission(tmp_path / "s.pkl", seed=0)
    assert set(submission.trajectories) == {"s"} and "stands in both stages" in submission.unusable["a"]


def entry(poses: object, *, num_poses: object = 8, interval: object = 0.5) -> StandIn:
    fields = {"num_poses": num_poses, "time_horizon": 4.0, "interval_length": interval}
    sampling = StandIn(module=SAMPLING[0], kind=SAMPLING[1], attributes=fields)
    return StandIn(
        module=TRAJECTORY[0], kind=TRAJECTORY[1], attributes={"poses": poses, "trajectory_sampling": sampling}
    )


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (entry(np.full((8, 3), np.nan, np.float32)), "a pose is NaN or infinite"),
        (entry(np.zeros((7, 3), np.float32)), "its sampling says 8 poses, it has 7"),
        (entry(np.zeros((8, 2), np.float32)), r"expected float poses of shape \(n, 3\), got float32 of shape \(8, 2\)"),
        (entry([[0.0, 0.0, 0.0]] * 8), r"expected float poses of shape \(n, 3\), got list"),
        (entry(np.zeros((6, 3)), num_poses=6), "6 poses 0.5 s apart, which is not 4 s"),
        (entry(np.zeros((8, 3)), num_poses=None), "its sampling has None poses"),
        (np.zeros((8, 3)), "expected a navsim Trajectory, got ndarray"),
    ],
)
def test_an_unusable_trajectory_is_named_and_the_others_are_read(tmp_path: Path, bad, reason):
    write_pickle(tmp_path / "s.pkl", {"predictions": [{"good": entry(np.zeros((8, 3), np.float32)), "bad": bad}]})
    submission = read_submission(tmp_path / "s.pkl", seed=0)
    assert set(submission.trajectories) == {"good"}
    assert re.search(reason, submission.unusable["bad"])


def test_a_trajectory_that_navsim_would_not_take_is_left_out_and_named(tmp_path: Path):
    nan = Trajectory(poses=np.full((8, 3), np.nan), dt_s=0.5)
    left_out = write_submission(
        tmp_path / "s.pkl",
        {"good": line(1.0), "nan": nan, "short": line(1.0, 6), "timeless": replace(line(1.0), dt_s=np.nan)},
        about={},
        second_stage=None,
    )
    assert left_out == {
        "nan": "a pose is NaN or infinite",
        "timeless": "NAVSIM takes 4 s of poses; these have shape (8, 3) and are nan s apart",
        "short": "NAVSIM takes 4 s of poses; these have shape (6, 3) and are 0.5 s apart",
    }
    assert set(read_submission(tmp_path / "s.pkl", seed=0).trajectories) == {"good"}


def test_another_pickle_is_no_submission(tmp_path: Path):
    write_pickle(tmp_path / "s.pkl", {"scenes": []})
    with pytest.raises(ConfigError, match=r"is no submission: .* it holds scenes"):
        read_submission(tmp_path / "s.pkl", seed=0)


def test_a_pickle_that_would_run_something_is_refused(tmp_path: Path):
    class Evil:
        def __reduce__(self):
            return (print, ("ran",))

    (tmp_path / "s.pkl").write_bytes(pickle.dumps({"predictions": [{"a": Evil()}]}))
    with pytest.raises(RefusedPickle, match=r"builtins\.print"):
        read_submission(tmp_path / "s.pkl", seed=0)
