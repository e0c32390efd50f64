"""Statistics of a part of the built-in world: motion of the ego and of the others, and their
correlation.

    python tools/world_statistics.py data/world/train data/world/probe

On decorrelated drives the R² of a linear map from the ego's motion to the others', fitted on half
of the drives, must be about 0.
"""

import sys
from pathlib import Path

import numpy as np

from latentdrive.counting import counted
from latentdrive.data.clips.clip_truth import others_motion, read_truth
from latentdrive.data.clips.sidecars import read_track
from latentdrive.geometry import relative_pose

NEAR_M = 40.0


def motions(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Forward displacement and yaw change [n, 2], others' motion [n, 6], and in view and near at each frame [T, 2]."""
    truth = read_truth(path)
    times = truth.times_s
    track = read_track(
        path.with_name(path.name.replace(".truth.npz", ".poses.csv")), first_s=times[0], last_s=times[-1], slack_s=0.1
    )
    step = round(truth.transition_s / (times[1] - times[0]))
    ego = relative_pose(track.poses[:-step], track.poses[step:])[:, [0, 2]]
    others = others_motion(truth, np.arange(len(times) - step)).reshape(-1, 6)
    agents = relative_pose(relative_pose(track.poses[:1], track.poses)[:, None], truth.agent_poses.astype(np.float64))
    visible = ~np.isnan(truth.boxes[..., 0])
    near = visible & (np.hypot(agents[..., 0], agents[..., 1]) < NEAR_M)
    return ego, others, np.stack([visible.any(1), near.any(1)], -1)


def explained(drives: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> np.ndarray:
    """R² of each of the others' six numbers on the ego's two, fitted on one half of the drives,
    computed on the other.
    """
    parts = []
    for half in (drives[::2], drives[1::2]):
        ego = np.concatenate([ego for ego, _, _ in half])
        parts.append((np.column_stack([ego, np.ones(len(ego))]), np.concatenate([others for _, others, _ in half])))
    (x, y), (held_x, held_y) = parts
    error = held_y - held_x @ np.linalg.lstsq(x, y, rcond=None)[0]
    return 1 - (error**2).sum(0) / ((held_y - held_y.mean(0)) ** 2).sum(0)


def main(folders: list[str]) -> None:
    """Print the statistics of each folder."""
    np.set_printoptions(precision=3, suppress=True)
    for folder in folders:
        drives = [motions(path) for path in sorted(Path(folder).glob("*.truth.npz"))]
        ego, others, view = (np.concatenate([motion[part] for motion in drives]) for part in range(3))
        print(f"{folder}: {counted(len(drives), 'drive')}, {counted(len(ego), 'transition')}")
        print(
            f"  ego: forward {ego[:, 0].mean():.2f} ± {ego[:, 0].std():.2f} m, yaw change ± {ego[:, 1].std():.4f} rad"
        )
        print(f"  frames with an agent in view {view[:, 0].mean():.3f}, within {NEAR_M:.0f} m {view[:, 1].mean():.3f}")
        print("  others, left x y, middle x y, right x y, per cent of the picture")
        print("    standard deviation", others.std(0))
        print("    share that moves  ", (np.abs(others) > 0.05).mean(0))
        for name, column in (("forward", 0), ("yaw", 1)):
            print(
                f"    correlation {name:<7}", np.array([np.corrcoef(ego[:, column], other)[0, 1] for other in others.T])
            )
        print("    R² on ego         ", explained(drives))


if __name__ == "__main__":
    main(sys.argv[1:])
