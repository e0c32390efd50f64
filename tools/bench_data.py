"""How fast data are read: starting with a million clips and 100,000 scenes, decoding, windows, and
NAVSIM scenes.

    python tools/bench_data.py                                  # both starts, with made-up clips and scenes
    python tools/bench_data.py --videos FOLDER                  # also decoding and windows of real video
    python tools/bench_data.py --navsim FOLDER --split test     # also reading NAVSIM scenes (scene_rates.py)

The FOLDER of --navsim holds navsim_logs/, sensor_blobs/, splits/ and maps/, as `latentdrive world
world=small` writes them. Nothing in it is changed; the tool works in a temporary folder. It takes
about half a minute without NAVSIM scenes and some minutes with them. --json FILE keeps the numbers.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import many_scenes
import numpy as np
import torch
from records import write_record
from scene_rates import Data, measure

from latentdrive.counting import counted
from latentdrive.data.batches.augmentation import NO_AUGMENTATION, Augmentation
from latentdrive.data.batches.clip_batches import ClipBatches
from latentdrive.data.batches.transition_stream import TransitionStream
from latentdrive.data.batches.transitions import WindowSpec
from latentdrive.data.clips.clip_source import ClipFacts, ClipOptions, Part
from latentdrive.data.clips.clip_truth import SidecarTruth
from latentdrive.data.clips.data_set import DataSet
from latentdrive.data.clips.frame_cache import CachedClips
from latentdrive.data.clips.video import VideoFolder
from latentdrive.data.unreadable import UnreadableLog
from latentdrive.types import DrivingClip, PoseSource

SIZE = {"rate_hz": 10.0, "height": 96, "width": 160}
READING = {"fit": "crop", "images_hz": None, "poses": "recorded", "odometry": None, "field_of_view_deg": 70.0}
WHOLE = {"times": "all", "train_share": 0.7, "gap_s": 0.5}
BATCH, TRANSITIONS = 64, 3


def main() -> None:
    """Print one line for each measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=1_000_000, help="length of the made-up list; 0: none")
    parser.add_argument("--videos", type=Path, help="folder of videos to decode")
    parser.add_argument("--many", type=int, default=many_scenes.SCENES, help="made-up scenes; 0: none")
    parser.add_argument("--many-logs", type=int, default=many_scenes.LOGS, help="logs of the made-up scenes")
    parser.add_argument("--navsim", type=Path, help="folder of NAVSIM data to read scenes of")
    parser.add_argument("--split", default="test", help="its split")
    parser.add_argument("--maps", type=Path, help="root of its maps, if it is not maps/ in the folder")
    parser.add_argument(
        "--cameras",
        nargs="+",
        default=["cam_f0", "cam_l0", "cam_r0", "cam_b0"],
        help="the cameras that are read together",
    )
    parser.add_argument("--scenes", type=int, help="only the first N scenes")
    parser.add_argument("--passes", type=int, default=3, help="warm passes, of which the median is taken")
    parser.add_argument("--workers", type=int, default=2, help="processes of the DataLoader; 0: none")
    parser.add_argument("--json", type=Path, help="write the numbers there, with command, commit and machine")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    measured: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if arguments.clips:
            measured["clips"] = start(folder, arguments.clips)
        if arguments.videos:
            measured["videos"] = decoding_and_windows(arguments.videos, folder / "cache")
        if arguments.many:
            measured["many_scenes"] = opening_many(folder / "many", arguments.many, arguments.many_logs)
        if arguments.navsim:
            data = Data(
                path=arguments.navsim,
                split=arguments.split,
                cache=folder / "navsim",
                scenes=arguments.scenes,
                maps=arguments.maps or arguments.navsim / "maps",
                passes=arguments.passes,
            )
            measured["navsim"] = measure(data, arguments.cameras, arguments.workers)
    if arguments.json:
        write_record(arguments.json, seed=0, **measured)


def opening_many(folder: Path, scenes: int, logs: int) -> dict[str, float]:
    """Seconds and memory to open a split of made-up scenes, in a process of its own."""
    many_scenes.write_many(folder, scenes=scenes, logs=logs)
    command = [sys.executable, many_scenes.__file__, "open", str(folder)]
    measured = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
    print(
        f"open a split of {counted(measured['scenes'], 'scene')} in {counted(measured['logs'], 'log')}: "
        f"{measured['seconds']:.2f} s, peak memory of the process {measured['peak_memory_gb']:.2f} GB "
        f"({measured['memory_before_gb']:.2f} GB before)"
    )
    return measured


def start(folder: Path, clips: int) -> dict[str, dict[str, float]]:
    """Start from a text list of `clips` paths: make the loaders of both parts, and their first batches."""
    listed = folder / "clips.txt"
    with open(listed, "w", encoding="utf-8") as file:
        file.writelines(f"videos/{number // 1000:05d}/drive_{number:08d}.mp4\n" for number in range(clips))
    started = time.perf_counter()
    batches = ClipBatches(
        data=made_up(listed),
        window_transitions=TRANSITIONS,
        transition_s=0.5,
        batch_size=BATCH,
        pairs_per_clip=1,
        held_out_windows=1000,
        patch_grid=(12, 20),
        augmentation=NO_AUGMENTATION,
        workers=0,
        seed=0,
        out=str(folder),
    )
    train, held_out = (
        batches.train_batches(0),
        batches.validation_batches(),
    )  # as the trainer asks before its first step
    clips = len(batches.train)
    measured = {"start": report_start(f"start with {counted(clips, 'clip')}", started)}
    next(iter(train))
    measured["first_batch"] = report_start("  and the first batch", started)
    started = time.perf_counter()
    next(iter(held_out))
    windows = len(batches.held_out.windows)
    measured["held_out"] = report_start(f"held-out windows chosen ({windows:,}), first batch of them", started)
    return measured


def report_start(what: str, started: float) -> dict[str, float]:
    """Print and return seconds, memory, and how many clips were opened so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    seconds = time.perf_counter() - started
    print(f"{what}: {seconds:.2f} s, peak memory of the process {peak:.2f} GB, {counted(MadeUp.opened, 'clip')} opened")
    return {"seconds": round(seconds, 3), "peak_memory_gb": round(peak, 3), "clips_opened": MadeUp.opened}


class MadeUp(VideoFolder):
    """A list of clips that do not exist: reading one gives 10 s of grey. opened: how many were read, in all sources."""

    opened = 0

    def read(self, index: int) -> tuple[DrivingClip, ClipFacts]:
        MadeUp.opened += 1
        count = 100
        clip = DrivingClip(
            frames=np.full((count, 3, self.height, self.width), 128, np.uint8),
            times_s=np.arange(count) / self.rate_hz,
            shots=np.zeros(count, np.int64),
            ego_poses=None,
            ego_speed_mps=None,
            pose_source=PoseSource.NONE,
            intrinsics=None,
            key=self.key(index),
            drive=self.drive(index),
        )
        facts = ClipFacts(
            frames_read=count,
            repeated=0,
            cuts=0,
            holes=0,
            standstill_s=0.0,
            duration_s=count / self.rate_hz,
            source_hz=self.rate_hz,
            source_height=self.height,
            source_width=self.width,
            view=(0.0, 0.0, 1.0, 1.0),
            camera_to_ego=None,
            pose_note="",
        )
        return clip, facts


def made_up(listed: Path) -> DataSet:
    """The data set of a list, with nothing cached."""
    return DataSet(
        path=str(listed),
        **SIZE,
        cache="none",
        cache_gb=1.0,
        cache_folder="",
        max_unreadable=0.01,
        block_s=None,
        train={"times": "train"},
        val={"times": "test"},
        scenes=None,
        splits=None,
        options=partial(ClipOptions, **READING),
        part=partial(Part, **WHOLE | {"path": str(listed)}),
        source=partial(MadeUp, truth=None),
    )


def decoding_and_windows(videos: Path, cache: Path) -> dict[str, Any]:
    """Frames a second that are decoded into the cache, and windows a second that come out of it."""
    options, part = ClipOptions(**SIZE, **READING), Part(**WHOLE, path=str(videos))
    source = VideoFolder(options=options, part=part, truth=SidecarTruth())
    cached = CachedClips(source=source, folder=cache, cache="frames", cache_gb=50.0, features=None, features_id=None)
    print(f"{counted(len(cached), 'clip')}, about {cached.estimate()[1]:.2f} h")
    started = time.perf_counter()
    failed = cached.prepare()
    seconds = time.perf_counter() - started
    read = sum(cached.read(index)[1].frames_read for index in range(len(cached)))
    print(
        f"decoded {counted(read, 'frame')} of {counted(len(cached), 'clip')} ({len(failed)} unreadable): "
        f"{read / seconds:.0f} frames/s"
    )
    measured: dict[str, Any] = {"clips": len(cached), "frames_per_s": round(read / seconds, 1), "windows_per_s": {}}
    for name, augmentation in [("plain", NO_AUGMENTATION), ("flip and crop", Augmentation(flip=True, crop_share=0.8))]:
        made = stream(cached, augmentation)
        made.batch(0)
        times = []
        for step in range(1, 40):
            started = time.perf_counter()
            made.batch(step)
            times.append(time.perf_counter() - started)
        middle = float(np.median(times))
        print(f"cached, {name}: {BATCH / middle:,.0f} windows/s ({middle * 1e3:.1f} ms a batch of {BATCH}, one core)")
        measured["windows_per_s"][name] = round(BATCH / middle, 1)
    return measured


def stream(source: CachedClips, augmentation: Augmentation) -> TransitionStream:
    """Batches of 64 windows of 4 frames."""
    return TransitionStream(
        source=source,
        spec=WindowSpec(transitions=TRANSITIONS, transition_s=0.5, rate_hz=source.rate_hz),
        batch_size=BATCH,
        pairs_per_clip=1,
        seed=0,
        start_step=0,
        steps=1_000_000,
        take="frames",
        patch_grid=None,
        augmentation=augmentation,
        unreadable=UnreadableLog(clips=len(source), max_unreadable=0.01, file=None),
    )


if __name__ == "__main__":
    main()
