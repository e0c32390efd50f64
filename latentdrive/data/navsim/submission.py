"""NAVSIM's submission files: trajectories by token, read and written without the devkit's classes.

v1 holds `predictions`; v2 holds `first_stage_predictions` and `second_stage_predictions`. Each is a
list with one dictionary (token → Trajectory) per seed, of which the server evaluates one. Files are
read by the safe reader (pickles/reading.py) and written by pickles/writing.py, under the class
paths that the devkit expects.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from latentdrive.counting import counted
from latentdrive.data.pickles.names import StandIn
from latentdrive.data.pickles.reading import read_pickle
from latentdrive.data.pickles.writing import write_pickle
from latentdrive.errors import ConfigError, NoPlans, WrongShape
from latentdrive.sums import require_sums, write_sums
from latentdrive.types import FROZEN, Trajectory

TRAJECTORY = ("navsim.common.dataclasses", "Trajectory")
SAMPLING = ("nuplan.planning.simulation.trajectory.trajectory_sampling", "TrajectorySampling")
LISTS_V1, LISTS_V2 = ("predictions",), ("first_stage_predictions", "second_stage_predictions")
PERSONAL = ("team_name", "authors", "email", "institution", "country / region")
HORIZON_S = 4.0  # length of the plans that the server accepts


@dataclass(**FROZEN)
class Submission:
    """Content of a submission file.

    trajectories: by token, of both stages. unusable: why other entries can't be used, by token.
    about: team_name, authors and the like, as written.
    """

    path: Path
    trajectories: dict[str, Trajectory]
    unusable: dict[str, str]
    about: dict[str, Any]


def read_submission(path: str | Path, *, seed: int) -> Submission:
    """The trajectories of one seed. An entry that can't be used is listed with its reason; the others are not affected.

    Raises RefusedPickle and UnreadableLogFile as `read_pickle` does, and ConfigError if the file is no submission,
    or not the one whose sum lies beside it.
    """
    path = Path(path).expanduser()
    content = read_pickle(path)
    try:
        require_sums(_sums_of(path), (path.name,))
    except ValueError as error:
        raise ConfigError(f"{path} was altered ({error}): write it again, or remove that file") from None
    lists = _lists(path, content)
    trajectories: dict[str, Trajectory] = {}
    unusable: dict[str, str] = {}
    for name in lists:
        for token, entry in _of_seed(path, name, content[name], seed).items():
            if not isinstance(token, str):
                raise ConfigError(f"{path}: {name} has a key that is no token: {token!r}")
            if token in trajectories or token in unusable:
                trajectories.pop(token, None)
                unusable[token] = "it stands in both stages, but a token belongs to one"
                continue
            try:
                trajectories[token] = _trajectory(entry)
            except WrongShape as error:
                unusable[token] = str(error)
    about = {key: value for key, value in content.items() if key not in (*LISTS_V1, *LISTS_V2)}
    return Submission(path=path, trajectories=trajectories, unusable=unusable, about=about)


def write_submission(
    path: str | Path,
    trajectories: Mapping[str, Trajectory],
    *,
    about: Mapping[str, Any],
    second_stage: Mapping[str, Trajectory] | None,
) -> dict[str, str]:
    """Write trajectories (poses [P, 3]) by token as a submission of one seed.

    about: PERSONAL keys; missing ones become empty text. second_stage: None writes v1's form;
    trajectories write v2's form, with these as its second stage. Trajectories that NAVSIM would not
    accept are left out; returns their tokens, with the reason. The file's sum is written beside it. Raises
    NoPlans, and writes nothing, where none is left.
    """
    left_out: dict[str, str] = {}
    content: dict[str, Any] = {key: about.get(key, "") for key in PERSONAL}
    if second_stage is None:
        content["predictions"] = [_entries(trajectories, left_out)]
    else:
        content |= {name: [_entries(stage, left_out)] for name, stage in zip(LISTS_V2, (trajectories, second_stage))}
    if not any(content[name][0] for name in (*LISTS_V1, *LISTS_V2) if name in content):
        first = "".join(f"; the first one is {token}: {reason}" for token, reason in [*left_out.items()][:1])
        raise NoPlans(f"{path}: a submission needs trajectories, and none of {len(left_out):,} can be used{first}")
    path = Path(path).expanduser()
    write_pickle(path, content)
    write_sums(_sums_of(path), (path.name,))
    return left_out


def _sums_of(path: Path) -> Path:
    """The file with the sum of a submission: NAVSIM's form has no place for it."""
    return path.with_name(f"{path.name}.sha256")


def _lists(path: Path, content: Any) -> tuple[str, ...]:
    """Names of the lists of predictions that the file has."""
    entries = content if isinstance(content, dict) else {}
    for names in (LISTS_V1, LISTS_V2):
        if all(name in entries for name in names):
            return names
    keys = ", ".join(str(key) for key in entries) or type(content).__name__
    raise ConfigError(
        f"{path} is no submission: expected a dictionary with {LISTS_V1[0]} (NAVSIM v1) or {' and '.join(LISTS_V2)} "
        f"(v2), it holds {keys[:300]}"
    )


def _of_seed(path: Path, name: str, seeds: Any, seed: int) -> dict[Any, Any]:
    if not isinstance(seeds, list) or not all(isinstance(entries, dict) for entries in seeds):
        raise ConfigError(f"{path}: {name} must be a list of dictionaries, one per seed, it is {type(seeds).__name__}")
    if not 0 <= seed < len(seeds):
        raise ConfigError(
            f"{path}: {name} holds {counted(len(seeds), 'seed')}, there is no number {seed}: planner.seed counts from 0"
        )
    return seeds[seed]


def _trajectory(entry: Any) -> Trajectory:
    """A Trajectory of the devkit as ours. Raises WrongShape if it can't be used."""
    if not isinstance(entry, StandIn) or (entry.module, entry.kind) != TRAJECTORY:
        kind = entry.kind if isinstance(entry, StandIn) else type(entry).__name__
        raise WrongShape(f"expected a navsim Trajectory, got {kind}")
    poses, sampling = entry.attributes.get("poses"), entry.attributes.get("trajectory_sampling")
    if not isinstance(poses, np.ndarray) or poses.dtype.kind != "f" or poses.ndim != 2 or poses.shape[1] != 3:
        kind = f"{poses.dtype} of shape {poses.shape}" if isinstance(poses, np.ndarray) else type(poses).__name__
        raise WrongShape(f"expected float poses of shape (n, 3), got {kind}")
    count, dt_s = _sampling(sampling)
    if len(poses) != count:
        raise WrongShape(f"its sampling says {counted(count, 'pose')}, it has {len(poses)}")
    if not np.isfinite(poses).all():
        raise WrongShape("a pose is NaN or infinite")
    return Trajectory(poses=poses, dt_s=dt_s)


def _sampling(sampling: Any) -> tuple[int, float]:
    """Number of poses and seconds between two. NAVSIM accepts trajectories of 4 s only."""
    if not isinstance(sampling, StandIn) or (sampling.module, sampling.kind) != SAMPLING:
        raise WrongShape("it has no trajectory_sampling")
    count, dt_s = sampling.attributes.get("num_poses"), sampling.attributes.get("interval_length")
    if type(count) is not int or not isinstance(dt_s, int | float) or not 0 < dt_s <= HORIZON_S:
        raise WrongShape(f"its sampling has {count!r} poses {dt_s!r} s apart")
    if abs(count * dt_s - HORIZON_S) > 1e-6:
        raise WrongShape(f"its sampling has {counted(count, 'pose')} {dt_s:g} s apart, which is not {HORIZON_S:g} s")
    return count, float(dt_s)


def _entries(trajectories: Mapping[str, Trajectory], left_out: dict[str, str]) -> dict[str, StandIn]:
    samplings: dict[tuple[int, float], StandIn] = {}
    entries = {}
    for token, trajectory in trajectories.items():
        poses = np.asarray(trajectory.poses, np.float32)
        if poses.ndim != 2 or poses.shape[1] != 3 or not abs(len(poses) * trajectory.dt_s - HORIZON_S) <= 1e-6:
            left_out[token] = (
                f"NAVSIM takes {HORIZON_S:g} s of poses; these have shape {poses.shape} and are "
                f"{trajectory.dt_s:g} s apart"
            )
            continue
        if not np.isfinite(poses).all():
            left_out[token] = "a pose is NaN or infinite"
            continue
        key = (len(poses), trajectory.dt_s)
        if key not in samplings:
            sampling = {"num_poses": key[0], "time_horizon": HORIZON_S, "interval_length": float(key[1])}
            samplings[key] = StandIn(module=SAMPLING[0], kind=SAMPLING[1], attributes=sampling)
        attributes = {"poses": poses, "trajectory_sampling": samplings[key]}
        entries[token] = StandIn(module=TRAJECTORY[0], kind=TRAJECTORY[1], attributes=attributes)
    return entries
