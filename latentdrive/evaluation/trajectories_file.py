"""trajectories.npz: what a planner planned in every scene, beside scores.csv. The report draws it;
nothing scores it again.

For every sampling that occurs, numbered from 0: tokens_0 [N], poses_0 [N, P, 3] (float32, present
ego frame) and dt_s_0.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from latentdrive.counting import counted
from latentdrive.errors import ConfigError
from latentdrive.files import read_arrays, write_atomic
from latentdrive.types import Trajectory

TRAJECTORIES = "trajectories.npz"


def write_trajectories(path: Path, trajectories: Mapping[str, Trajectory]) -> None:
    """Write trajectories (poses [P, 3], by token) without pickling, as a whole or not at all."""
    samplings: dict[tuple[int, float], list[str]] = {}
    for token, planned in trajectories.items():
        samplings.setdefault((len(planned.poses), float(planned.dt_s)), []).append(token)
    arrays: dict[str, np.ndarray] = {}
    for number, ((_, dt_s), tokens) in enumerate(samplings.items()):
        arrays[f"tokens_{number}"] = np.array(tokens)
        arrays[f"poses_{number}"] = np.stack([trajectories[token].poses for token in tokens]).astype(np.float32)
        arrays[f"dt_s_{number}"] = np.array(dt_s)

    def write(new: Path) -> None:
        with new.open("wb") as file:
            np.savez_compressed(file, **arrays)

    write_atomic(path, write)


def read_trajectories(path: Path) -> dict[str, Trajectory]:
    """What `write_trajectories` wrote, in float32. Raises ConfigError where the file is missing or
    damaged."""
    remedy = f"repeat the evaluation with out={path.parent}"
    trajectories: dict[str, Trajectory] = {}
    try:
        arrays = read_arrays(path)
        samplings = -(-len(arrays) // 3)
        if odd := arrays.keys() ^ {f"{name}_{k}" for name in ("tokens", "poses", "dt_s") for k in range(samplings)}:
            raise ValueError(f"{min(odd)} is missing, or one too many")
        for number in range(samplings):
            tokens, poses, dt_s = (arrays[f"{name}_{number}"] for name in ("tokens", "poses", "dt_s"))
            if poses.shape != (len(tokens), *poses.shape[1:2], 3):
                raise ValueError(f"{counted(len(tokens), 'token')} for poses of shape {poses.shape}")
            trajectories |= {str(token): Trajectory(poses=rows, dt_s=float(dt_s)) for token, rows in zip(tokens, poses)}
    except FileNotFoundError:
        raise ConfigError(f"{path} is missing, and no plan can be drawn without it: {remedy}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} is damaged ({error}): {remedy}") from None
    return trajectories
