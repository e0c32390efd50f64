"""A data split of as many scenes as one likes, without their content: what opening one costs, for a test and for measuring.

    PYTHONPATH=tests/data python tests/data/navsim_many.py FOLDER 100000

The log files are there and empty, and the index says what they would hold; whoever opened a log would find it unreadable.
"""

import resource
import sys
import time
from pathlib import Path

import numpy as np
from navsim_fixture import write_split

from latentdrive.data.navsim_index import NavsimIndex
from latentdrive.data.navsim_log import stamp_of
from latentdrive.data.navsim_log_folder import LogFolder

CACHE, FRAMES = "cache", 14  # frames of a scene
LOG_SCENES = 87  # scenes of a log, as in navtrain


def write_many(root: Path, scenes: int) -> Path:
    """Log files, index and a split "all" that lists every token of `scenes` scenes."""
    logs = -(-scenes // LOG_SCENES)
    folder = root / "navsim_logs" / "trainval"
    folder.mkdir(parents=True)
    names = [f"2021.05.25.14.16.10_veh-35_{k:05d}_{k:05d}" for k in range(logs)]
    for name in names:
        (folder / f"{name}.pkl").touch()
    rng = np.random.default_rng(0)
    counts = np.full(logs, LOG_SCENES) - np.eye(logs, dtype=int)[-1] * (logs * LOG_SCENES - scenes) + FRAMES - 1
    frames = int(counts.sum())
    words = rng.integers(0, 1 << 62, frames)
    # The last five digits count, so no two are alike.
    tokens = np.array([f"{word & 0xFFFFFFFFFF:010x}{k:06x}".encode() for k, word in enumerate(words.tolist())])
    index = NavsimIndex(
        names=np.array([name.encode() for name in names]),
        stamps=np.array([stamp_of(folder / f"{name}.pkl") for name in names], np.int64),
        unreadable=np.zeros(logs, "S1"),
        places=np.full(logs, b"us-ma-boston"),
        examples=np.zeros(logs, "S1"),
        lost_boxes=np.zeros(logs, np.int64),
        ends=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        tokens=tokens,
        timestamps_us=np.arange(frames, dtype=np.int64) * 500_000,
        has_route=np.ones(frames, bool),
        annotated=np.ones(frames, bool),
        problems=np.zeros(frames, np.int8),
    )
    many(root).save(index)
    write_split(root / "splits", "all", data_split="trainval", log_names=names, tokens=[one.decode() for one in tokens])
    return root


def many(root: Path) -> LogFolder:
    """The log files with their cache."""
    return LogFolder(root / "navsim_logs" / "trainval", cache=root / CACHE, processes=1, max_unreadable=0.0)


def main() -> None:
    """Write the split where it is not there yet, open it, and print scenes, seconds and the most memory that was used."""
    root, scenes = Path(sys.argv[1]), int(sys.argv[2])
    if not root.exists():
        write_many(root, scenes)
    from latentdrive.data.navsim_logs import NavsimLogs

    began = time.perf_counter()
    source = NavsimLogs(
        path=str(root), data_split=None, split="all", splits=str(root / "splits"), filter=None, maps=None, cameras=(),
        camera_frames="now", lidar=False, at_least=None, cache_folder=str(root / CACHE), processes=1, max_unreadable=0.0,
    )  # fmt: skip
    seconds = time.perf_counter() - began
    # ru_maxrss is in kilobytes on Linux.
    print(len(source), round(seconds, 3), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


if __name__ == "__main__":
    main()
