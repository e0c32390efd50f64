"""How fast NAVSIM scenes are read, cold and warm, in one process and by a DataLoader's workers. For
bench_data.py.

Cold: no log is open in the process, and pictures, point clouds and logs are out of the system's
memory as far as page_cache.py can drop them. Warm: the same scenes are read again with the same
source.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from page_cache import drop_pages
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from torch.utils.data import DataLoader, Dataset

from latentdrive.counting import counted
from latentdrive.data.maps.nuplan_maps import NuplanMaps
from latentdrive.data.navsim.log_folder import BLOBS, navsim_folders
from latentdrive.data.navsim.opening import counts_of, open_navsim_logs
from latentdrive.data.navsim.scene_filter import read_split
from latentdrive.data.navsim.scene_source import NavsimLogs
from latentdrive.data.navsim.scenes import sensor_path
from latentdrive.data.navsim.sensor_files import Size, read_image
from latentdrive.types import FRONT_CAMERA, Scene

MAP_VERSION = "nuplan-maps-v1.0"
BATCH = 8  # scenes that a worker returns together
TRUE_SIZE, QUALITY = (
    (1080, 1920),
    95,
)  # height and width of NAVSIM's pictures; quality of the JPEG files that are made here
AT_LEAST: dict[str, Size | None] = {"full": None, "270x480": (270, 480), "96x160": (96, 160)}


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What is read of a scene. shuffled: in a random order, as in training, instead of log by log."""

    cameras: tuple[str, ...]
    frames: str = "now"
    lidar: bool = False
    truth: bool = False
    shuffled: bool = False
    workers: int = 0


@dataclass(kw_only=True)
class Pass:
    """One pass over the scenes: seconds on the clock, of the process, and in the JPEG decoder of this process."""

    seconds: float
    process: float
    decoding: float


@dataclass(kw_only=True)
class Data:
    """Where the scenes are.

    cache: an empty folder. maps: root of the maps. scenes: read only the first N, None for all.
    passes: number of warm passes, of which the median is taken.
    """

    path: Path
    split: str
    cache: Path
    maps: Path
    scenes: int | None
    passes: int

    def open(self, reading: Reading, maps: NuplanMaps | None = None) -> NavsimLogs:
        """A new source that has no log open."""
        return open_navsim_logs(
            path=str(self.path),
            data_split=None,
            split=self.split,
            splits=str(self.path / "splits"),
            filter=None,
            maps=maps,
            cameras=reading.cameras,
            camera_frames=reading.frames,
            lidar=reading.lidar,
            at_least=None,
            cache_folder=str(self.cache),
            processes=1,
            max_unreadable=0.0,
        )

    def tokens(self, source: NavsimLogs, *, shuffled: bool = False) -> list[str]:
        """The scenes to read."""
        tokens = source.tokens[: self.scenes]
        order = np.random.default_rng(0).permutation(len(tokens)) if shuffled else range(len(tokens))
        return [tokens[k] for k in order]

    @property
    def logs(self) -> Path:
        """Folder of the logs."""
        return navsim_folders(self.path, read_split(self.path / "splits", self.split).data_split)[0]

    def drop(self) -> float:
        """Drop everything that is read of a scene from the system's memory. Returns the share that was dropped."""
        blobs = self.path / BLOBS / self.logs.name
        return drop_pages([self.logs, blobs, self.maps], written=[self.cache])


def readings(cameras: Sequence[str], workers: int) -> dict[str, Reading]:
    """What is measured without truth, by name. cameras: those that are read together."""
    front, several = (FRONT_CAMERA,), f"{counted(len(cameras), 'camera')} and lidar, now"
    alone = {
        "front camera, now": Reading(cameras=front),
        "front camera, now, shuffled": Reading(cameras=front, shuffled=True),
        "front camera, history": Reading(cameras=front, frames="all"),
        several: Reading(cameras=tuple(cameras), lidar=True),
    }
    if not workers:
        return alone
    return alone | {
        f"front camera, now, {workers} workers": Reading(cameras=front, workers=workers),
        f"{several}, {workers} workers": Reading(cameras=tuple(cameras), lidar=True, workers=workers),
    }


def measure(data: Data, cameras: Sequence[str], workers: int) -> dict[str, Any]:
    """Measure everything about the scenes of `data`; prints a line for each number and returns them."""
    measured: dict[str, Any] = {"split": data.split, "opening": opening(data), "readings": {}}
    for name, reading in readings(cameras, workers).items():
        measured["readings"][name] = rates(data, name, reading)
    if (data.maps / f"{MAP_VERSION}.json").is_file():
        measured["maps"], maps = read_maps(data)
        measured["readings"]["truth alone"] = rates(data, "truth alone", Reading(cameras=(), truth=True), maps)
    else:
        print(f"truth alone: not measured, {data.maps} has no {MAP_VERSION}.json (--maps FOLDER)")
    measured["true_size"] = true_size(data)
    return measured


def opening(data: Data) -> dict[str, float]:
    """Seconds to open the split: the first time, when every log is read, and the second time."""
    drop_pages([data.logs])
    seconds = []
    for _ in range(2):
        started = time.perf_counter()
        source = data.open(Reading(cameras=()))
        seconds.append(time.perf_counter() - started)
    counts = counts_of(source)
    print(
        f"opened {data.split}: {counted(counts.scenes, 'scene')}, {counted(counts.logs, 'log')} with "
        f"{counted(counts.frames, 'frame')}: {seconds[0]:.2f} s ({counts.logs / seconds[0]:.1f} logs/s), again "
        f"{seconds[1]:.3f} s"
    )
    return {
        "scenes": counts.scenes,
        "logs": counts.logs,
        "frames": counts.frames,
        "first_s": round(seconds[0], 3),
        "logs_per_s": round(counts.logs / seconds[0], 2),
        "again_s": round(seconds[1], 4),
    }


def read_maps(data: Data) -> tuple[dict[str, float], NuplanMaps]:
    """Seconds to read the maps of the scenes, and those maps."""
    source = data.open(Reading(cameras=()))
    places = sorted({source.place(token) for token in data.tokens(source)})
    drop_pages([data.maps])
    maps, started = NuplanMaps(root=data.maps, version=MAP_VERSION), time.perf_counter()
    for place in places:
        maps[place]
    seconds = time.perf_counter() - started
    print(f"maps: {counted(len(places), 'place')} in {seconds:.2f} s, once")
    return {"places": len(places), "seconds": round(seconds, 3)}, maps


def rates(data: Data, name: str, reading: Reading, maps: NuplanMaps | None = None) -> dict[str, float]:
    """Scenes a second of one reading, in a cold pass and in warm ones."""
    source = data.open(reading, maps)
    tokens = data.tokens(source, shuffled=reading.shuffled)
    read_all = by_workers(source, reading, tokens) if reading.workers else in_process(source, reading, tokens)
    dropped = data.drop()
    cold = timed(read_all)
    warm = [timed(read_all) for _ in range(data.passes)]
    seconds = float(np.median([run.seconds for run in warm]))
    measured = {
        "scenes": len(tokens),
        "pages_dropped": round(dropped, 3),
        "cold_per_s": round(len(tokens) / cold.seconds, 1),
        "warm_per_s": round(len(tokens) / seconds, 1),
    }
    line = f"{name}: cold {measured['cold_per_s']:,} scenes/s ({dropped:.0%} of the pages dropped)"
    line += f", warm {measured['warm_per_s']:,}"
    if reading.workers:
        print(line)
        return measured
    measured["warm_per_process_s"] = round(len(tokens) / float(np.median([run.process for run in warm])), 1)
    line += (
        f" ({seconds / len(tokens) * 1e3:.1f} ms a scene; {measured['warm_per_process_s']:,} a second of the process)"
    )
    if reading.cameras:
        measured["decoding_share_cold"] = round(cold.decoding / cold.seconds, 4)
        measured["decoding_share_warm"] = round(float(np.median([run.decoding / run.seconds for run in warm])), 4)
        line += f", {measured['decoding_share_warm']:.0%} of the warm time in the JPEG decoder"
    print(line)
    return measured


def timed(read_all: Callable[[], None]) -> Pass:
    """Time one pass."""
    with jpeg_clock() as clock:
        wall, process = time.perf_counter(), time.process_time()
        read_all()
        return Pass(seconds=time.perf_counter() - wall, process=time.process_time() - process, decoding=clock.seconds)


def in_process(source: NavsimLogs, reading: Reading, tokens: Sequence[str]) -> Callable[[], None]:
    """A function that reads one scene after another in this process."""
    read = source.truth if reading.truth else source.__getitem__

    def read_all() -> None:
        for token in tokens:
            read(token)

    return read_all


class Tokens(Dataset):
    """Scenes by number, for the workers of a DataLoader."""

    def __init__(self, source: NavsimLogs, tokens: Sequence[str]) -> None:
        self.source, self.tokens = source, list(tokens)

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, number: int) -> Scene:
        return self.source[self.tokens[number]]


def handed_over(scenes: Sequence[Scene]) -> tuple[torch.Tensor, torch.Tensor]:
    """All pixels and all points of some scenes, in two tensors, because tensors pass from a worker in shared memory."""
    pixels = [image.pixels.ravel() for scene in scenes for images in scene.cameras.values() for image in images]
    points = [scene.lidar for scene in scenes if scene.lidar is not None]
    empty = np.zeros((0, 4), np.float32)
    return torch.from_numpy(np.concatenate(pixels)), torch.from_numpy(np.concatenate([empty, *points]))


def by_workers(source: NavsimLogs, reading: Reading, tokens: Sequence[str]) -> Callable[[], None]:
    """A function that reads the scenes by a DataLoader. Its workers stay; starting them counts for the cold pass."""
    loader = DataLoader(
        Tokens(source, tokens),
        batch_size=BATCH,
        num_workers=reading.workers,
        collate_fn=handed_over,
        persistent_workers=True,
    )

    def read_all() -> None:
        for _ in loader:
            pass

    return read_all


@dataclass
class JpegClock:
    """Seconds in the JPEG decoder, and the number of pictures it decoded."""

    seconds: float = 0.0
    pictures: int = 0


@contextmanager
def jpeg_clock() -> Iterator[JpegClock]:
    """Times Pillow's decoder while the block runs.

    Decoding the same bytes separately would meet other caches and another load of the machine.
    Opening the file, reading its header and copying pixels into numpy do not count. In a cold pass
    the decoder waits for the disk, which counts.
    """
    clock, load = JpegClock(), JpegImageFile.load
    own = "load" in vars(JpegImageFile)

    def timed_load(image: JpegImageFile) -> Any:
        waiting = bool(image.tile)  # otherwise it is decoded already
        started = time.perf_counter()
        try:
            return load(image)
        finally:
            clock.seconds += time.perf_counter() - started
            clock.pictures += waiting

    JpegImageFile.load = timed_load
    try:
        yield clock
    finally:
        if own:
            JpegImageFile.load = load
        else:
            del JpegImageFile.load


def true_size(data: Data, count: int = 24) -> dict[str, Any]:
    """Pictures a second at NAVSIM's size: front pictures of these data, enlarged, decoded at full
    size and smaller.

    Enlarged pictures have less detail than recorded ones, so their files are smaller and decode
    somewhat faster.
    """
    source = data.open(Reading(cameras=(FRONT_CAMERA,)))
    tokens, folder = data.tokens(source), data.cache / "true_size"
    folder.mkdir(parents=True)
    files = []
    for k in sorted({int(k) for k in np.linspace(0, len(tokens) - 1, count)}):
        cut = source.cut(tokens[k])
        with Image.open(source.blobs / sensor_path(cut.log, cut.now, FRONT_CAMERA)) as image:
            large = image.convert("RGB").resize(TRUE_SIZE[::-1], Image.Resampling.LANCZOS)
        files.append(folder / f"{tokens[k]}.jpg")
        large.save(files[-1], "JPEG", quality=QUALITY)
    size = sum(file.stat().st_size for file in files) / len(files)
    measured: dict[str, Any] = {
        "pictures": len(files),
        "height": TRUE_SIZE[0],
        "width": TRUE_SIZE[1],
        "quality": QUALITY,
        "bytes_a_picture": round(size),
        "decoded_per_s": {},
        "decoded_per_process_s": {},
        "decoded_size": {},
    }
    for name, at_least in AT_LEAST.items():

        def read_all(at_least: Size | None = at_least) -> None:
            for file in files:
                read_image(file, at_least)

        read_all()  # the first pass reads the disk
        passes = [timed(read_all) for _ in range(data.passes)]
        rate, of_process = (
            len(files) / float(np.median([getattr(run, kind) for run in passes])) for kind in ("seconds", "process")
        )
        height, width = read_image(files[0], at_least)[0].shape[:2]
        measured["decoded_size"][name] = [height, width]
        measured["decoded_per_s"][name], measured["decoded_per_process_s"][name] = round(rate, 1), round(of_process, 1)
        faster = of_process / measured["decoded_per_process_s"]["full"]
        asked = "whole" if at_least is None else f"at least {name}, decoded {height}x{width}"
        print(
            f"1080x1920 pictures of {size / 1e3:.0f} kB, {asked}: {rate:,.0f} pictures/s "
            f"({of_process:,.0f} a process second, {faster:.1f} times as fast as whole)"
        )
    return measured
