"""What it costs to open a NAVSIM split with many scenes, measured on a made-up split without their
content.

    python tools/many_scenes.py write FOLDER --scenes 100000 --logs 1200
    python tools/many_scenes.py open FOLDER          # prints JSON: scenes, seconds, memory before and at its peak

The log files exist but are empty, and the index says what they would hold. Writing and opening are
two commands, so that the memory of the one does not count for the other.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import yaml

from latentdrive.data.navsim.index import NavsimIndex
from latentdrive.data.navsim.log import stamp_of
from latentdrive.data.navsim.log_folder import LogFolder
from latentdrive.data.navsim.opening import counts_of, open_navsim_logs

CACHE, SPLITS, NAME, DATA_SPLIT = "cache", "splits", "all", "trainval"
HISTORY, FUTURE = 4, 10  # frames of a scene
SCENES, LOGS = 100_000, 1200  # about navtrain


def main() -> None:
    """Write or open a split."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("write", "open"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--scenes", type=int, default=SCENES)
    parser.add_argument("--logs", type=int, default=LOGS)
    arguments = parser.parse_args()
    if arguments.what == "write":
        write_many(arguments.folder, scenes=arguments.scenes, logs=arguments.logs)
    else:
        print(json.dumps(open_many(arguments.folder)))


def write_many(root: Path, *, scenes: int, logs: int) -> None:
    """Write log files, an index, and a split that lists every token. scenes: in all, spread evenly over the logs."""
    folder = root / "navsim_logs" / DATA_SPLIT
    folder.mkdir(parents=True)
    names = [f"2021.05.25.14.16.10_veh-35_{k:05d}_{k:05d}" for k in range(logs)]
    for name in names:
        (folder / f"{name}.pkl").touch()
    counts = scenes // logs + (np.arange(logs) < scenes % logs) + HISTORY + FUTURE - 1
    frames = int(counts.sum())
    words = np.random.default_rng(0).integers(0, 1 << 40, frames)
    # The last six digits count the frames, so that no two tokens are equal.
    tokens = [f"{word:010x}{k:06x}" for k, word in enumerate(words.tolist())]
    index = NavsimIndex(
        names=np.array([name.encode() for name in names]),
        stamps=np.array([stamp_of(folder / f"{name}.pkl") for name in names], np.int64),
        unreadable=np.zeros(logs, "S1"),
        places=np.full(logs, b"us-ma-boston"),
        examples=np.zeros(logs, "S1"),
        lost_boxes=np.zeros(logs, np.int64),
        ends=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        tokens=np.array([token.encode() for token in tokens]),
        timestamps_us=np.arange(frames, dtype=np.int64) * 500_000,
        has_route=np.ones(frames, bool),
        annotated=np.ones(frames, bool),
        problems=np.zeros(frames, np.int8),
    )
    LogFolder(folder, cache=root / CACHE).save(index)
    _write_split(root / SPLITS, names, tokens)


def _write_split(folder: Path, logs: list[str], tokens: list[str]) -> None:
    (folder / "scene_filter").mkdir(parents=True)
    content = {
        "_target_": "navsim.common.dataclasses.SceneFilter",
        "_convert_": "all",
        "num_history_frames": HISTORY,
        "num_future_frames": FUTURE,
        "frame_interval": 1,
        "has_route": True,
        "max_scenes": None,
        "log_names": logs,
        "tokens": tokens,
    }
    # With libyaml if it is there, because 100,000 tokens take half a minute without it.
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    (folder / "scene_filter" / f"{NAME}.yaml").write_text(yaml.dump(content, Dumper=dumper, sort_keys=False))
    top = {"defaults": [{"scene_filter": NAME}], "data_split": DATA_SPLIT}
    (folder / f"{NAME}.yaml").write_text(yaml.safe_dump(top))


def open_many(root: Path) -> dict[str, float]:
    """Open what `write_many` wrote. Returns seconds, and GB of memory of this process before and at its peak."""
    before, started = peak_gb(), time.perf_counter()
    source = open_navsim_logs(
        path=str(root),
        data_split=None,
        split=NAME,
        splits=str(root / SPLITS),
        filter=None,
        maps=None,
        cameras=(),
        camera_frames="now",
        lidar=False,
        at_least=None,
        cache_folder=str(root / CACHE),
        processes=1,
        max_unreadable=0.0,
    )
    seconds = time.perf_counter() - started
    return {
        "scenes": len(source),
        "logs": counts_of(source).logs,
        "seconds": round(seconds, 3),
        "memory_before_gb": before,
        "peak_memory_gb": peak_gb(),
    }


def peak_gb() -> float:
    """The most memory that this program had so far, in GB.

    getrusage would not do: there a new program starts with the peak of the one that started it.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    kilobytes = next(line.split()[1] for line in lines if line.startswith("VmHWM:"))
    return round(int(kilobytes) * 1024 / 1e9, 3)


if __name__ == "__main__":
    main()
