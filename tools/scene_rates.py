"""How fast NAVSIM scenes are read: each of several readings cold and warm, in one process and by a DataLoader's workers.

For bench_data.py. Cold: nothing of the logs in the process, pictures, point clouds, logs and columns out of the system's
memory as far as page_cache.py gets them out. Warm: the same scenes again with the same source.
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

from latentdrive.data.maps.nuplan_maps import NuplanMaps
from latentdrive.data.navsim.log_folder import BLOBS, navsim_folders
from latentdrive.data.navsim.scene_filter import read_split
from latentdrive.data.navsim.scene_source import NavsimLogs
from latentdrive.data.navsim.scenes import sensor_path
from latentdrive.data.navsim.sensor_files import Size, read_image
from latentdrive.types import FRONT_CAMERA, Scene

MAP_VERSION = "nuplan-maps-v1.0"
BATCH = 8  # scenes that a worker hands over together
TRUE_SIZE, QUALITY = (1080, 1920), 95  # of NAVSIM's pictures; of the JPEG files that are made of this data's
AT_LEAST: dict[str, Size | None] = {"full": None, "270x480": (270, 480), "96x160": (96, 160)}


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What of a scene is read. shuffled: in a random order, as for training, else log by log."""

    cameras: tuple[str, ...]
    frames: str = "now"
    lidar: bool = False
    truth: bool = False
    shuffled: bool = False
    workers: int = 0


@dataclass(kw_only=True)
class Pass:
    """One pass over the scenes: seconds on the wall, of the process, and in the JPEG decoder (of this process alone)."""

    seconds: float
    process: float
    decoding: float


@dataclass(kw_only=True)
class Data:
    """Where the scenes are. cache: an empty folder. maps: root of the maps. scenes: the first so many, None: all.

    passes: warm ones; their median counts.
    """

    path: Path
    split: str
    cache: Path
    maps: Path
    scenes: int | None
    passes: int

    def open(self, reading: Reading, maps: NuplanMaps | None = None) -> NavsimLogs:
        """A new source, none of its logs open."""
        return NavsimLogs(
            path=str(self.path), data_split=None, split=self.split, splits=str(self.path / "splits"), filter=None,
            maps=maps, cameras=reading.cameras, camera_frames=reading.frames, lidar=reading.lidar, at_least=None,
            cache_folder=str(self.cache), processes=1, max_unreadable=0.0,
        )  # fmt: skip

    def tokens(self, source: NavsimLogs, *, shuffled: bool = False) -> list[str]:
        """The scenes to read."""
        tokens = source.tokens[: self.scenes]
        order = np.random.default_rng(0).permutation(len(tokens)) if shuffled else range(len(tokens))
        return [tokens[k] for k in order]

    @property
    def logs(self) -> Path:
        """Folder of the logs; nothing is read of them."""
        return navsim_folders(self.path, read_split(self.path / "splits", self.split).data_split)[0]

    def drop(self) -> float:
        """Everything that is read of a scene, out of the system's memory; which share of it left."""
        blobs = self.path / BLOBS / self.logs.name
        return drop_pages([self.logs, blobs, self.maps], written=[self.cache])


def readings(cameras: Sequence[str], workers: int) -> dict[str, Reading]:
    """What is measured without truth, by name. cameras: the several."""
    front, several = (FRONT_CAMERA,), f"{len(cameras)} cameras and lidar, now"
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
    """Everything about the scenes of `data`, a line each; returned for the record."""
    found: dict[str, Any] = {"split": data.split, "opening": opening(data), "readings": {}}
    for name, reading in readings(cameras, workers).items():
        found["readings"][name] = rates(data, name, reading)
    if (data.maps / f"{MAP_VERSION}.json").is_file():
        found["maps"], maps = read_maps(data)
        found["readings"]["truth alone"] = rates(data, "truth alone", Reading(cameras=(), truth=True), maps)
    else:
        print(f"truth alone: not measured, {data.maps} has no {MAP_VERSION}.json (--maps FOLDER)")
    found["true_size"] = true_size(data)
    return found


def opening(data: Data) -> dict[str, float]:
    """Seconds to open the split: the first time, when every log is read, and again."""
    drop_pages([data.logs])
    seconds = []
    for _ in range(2):
        began = time.perf_counter()
        source = data.open(Reading(cameras=()))
        seconds.append(time.perf_counter() - began)
    counts = source.counts()
    print(
        f"opened {data.split}: {counts.scenes:,} scenes, {counts.logs:,} logs with {counts.frames:,} frames: "
        f"{seconds[0]:.2f} s ({counts.logs / seconds[0]:.1f} logs/s), again {seconds[1]:.3f} s"
    )
    return {
        "scenes": counts.scenes, "logs": counts.logs, "frames": counts.frames, "first_s": round(seconds[0], 3),
        "logs_per_s": round(counts.logs / seconds[0], 2), "again_s": round(seconds[1], 4),
    }  # fmt: skip


def read_maps(data: Data) -> tuple[dict[str, float], NuplanMaps]:
    """Seconds to read the maps of the scenes, and those maps."""
    source = data.open(Reading(cameras=()))
    places = sorted({source.place(token) for token in data.tokens(source)})
    drop_pages([data.maps])
    maps, began = NuplanMaps(root=data.maps, version=MAP_VERSION), time.perf_counter()
    for place in places:
        maps[place]
    seconds = time.perf_counter() - began
    print(f"maps: {len(places)} places in {seconds:.2f} s, once")
    return {"places": len(places), "seconds": round(seconds, 3)}, maps


def rates(data: Data, name: str, reading: Reading, maps: NuplanMaps | None = None) -> dict[str, float]:
    """Scenes a second of one reading: a cold pass, then warm ones."""
    source = data.open(reading, maps)
    tokens = data.tokens(source, shuffled=reading.shuffled)
    read_all = by_workers(source, reading, tokens) if reading.workers else in_process(source, reading, tokens)
    dropped = data.drop()
    cold = timed(read_all)
    warm = [timed(read_all) for _ in range(data.passes)]
    seconds = float(np.median([one.seconds for one in warm]))
    found = {
        "scenes": len(tokens), "pages_dropped": round(dropped, 3), "cold_per_s": round(len(tokens) / cold.seconds, 1),
        "warm_per_s": round(len(tokens) / seconds, 1),
    }  # fmt: skip
    line = f"{name}: cold {found['cold_per_s']:,} scenes/s ({dropped:.0%} of the pages dropped), warm {found['warm_per_s']:,}"
    if reading.workers:
        print(line)
        return found
    found["warm_per_process_s"] = round(len(tokens) / float(np.median([one.process for one in warm])), 1)
    line += f" ({seconds / len(tokens) * 1e3:.1f} ms a scene; {found['warm_per_process_s']:,} a second of the process)"
    if reading.cameras:
        found["decoding_share_cold"] = round(cold.decoding / cold.seconds, 4)
        found["decoding_share_warm"] = round(float(np.median([one.decoding / one.seconds for one in warm])), 4)
        line += f", {found['decoding_share_warm']:.0%} of the warm time in the JPEG decoder"
    print(line)
    return found


def timed(read_all: Callable[[], None]) -> Pass:
    """One pass."""
    with jpeg_clock() as clock:
        wall, process = time.perf_counter(), time.process_time()
        read_all()
        return Pass(seconds=time.perf_counter() - wall, process=time.process_time() - process, decoding=clock.seconds)


def in_process(source: NavsimLogs, reading: Reading, tokens: Sequence[str]) -> Callable[[], None]:
    """Reads one scene after another, here."""
    read = source.truth if reading.truth else source.__getitem__

    def read_all() -> None:
        for token in tokens:
            read(token)

    return read_all


class Tokens(Dataset):
    """Scenes by number, for workers."""

    def __init__(self, source: NavsimLogs, tokens: Sequence[str]) -> None:
        self.source, self.tokens = source, list(tokens)

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, number: int) -> Scene:
        return self.source[self.tokens[number]]


def handed_over(scenes: Sequence[Scene]) -> tuple[torch.Tensor, torch.Tensor]:
    """Pixels and points of some scenes, one tensor each, as batches pass from a worker: in shared memory."""
    pixels = [image.pixels.ravel() for scene in scenes for images in scene.cameras.values() for image in images]
    points = [scene.lidar for scene in scenes if scene.lidar is not None]
    empty = np.zeros((0, 4), np.float32)
    return torch.from_numpy(np.concatenate(pixels)), torch.from_numpy(np.concatenate([empty, *points]))


def by_workers(source: NavsimLogs, reading: Reading, tokens: Sequence[str]) -> Callable[[], None]:
    """Reads them by a DataLoader whose workers stay from pass to pass; starting them counts for the first (cold) one."""
    loader = DataLoader(
        Tokens(source, tokens), batch_size=BATCH, num_workers=reading.workers, collate_fn=handed_over,
        persistent_workers=True,
    )  # fmt: skip

    def read_all() -> None:
        for _ in loader:
            pass

    return read_all


@dataclass
class JpegClock:
    """Seconds in the JPEG decoder, and how many pictures it decoded."""

    seconds: float = 0.0
    pictures: int = 0


@contextmanager
def jpeg_clock() -> Iterator[JpegClock]:
    """Times Pillow's decoder inside the block, where it works: share and rate come from the same seconds.

    Decoding the same bytes apart would find other caches and another load of the machine. What is not counted: opening the
    file and its header, and copying pixels into numpy. In a cold pass the decoder waits for the disk, and that counts.
    """
    clock, load = JpegClock(), JpegImageFile.load
    own = "load" in vars(JpegImageFile)

    def timed_load(image: JpegImageFile) -> Any:
        waiting = bool(image.tile)  # else it is decoded already
        began = time.perf_counter()
        try:
            return load(image)
        finally:
            clock.seconds += time.perf_counter() - began
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
    """Pictures a second at NAVSIM's size: front pictures of this data enlarged, decoded whole and at fractions.

    Enlarged pictures have less detail than recorded ones, so their files are smaller and decode somewhat faster.
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
    found: dict[str, Any] = {
        "pictures": len(files), "height": TRUE_SIZE[0], "width": TRUE_SIZE[1], "quality": QUALITY,
        "bytes_a_picture": round(size), "decoded_per_s": {}, "decoded_per_process_s": {},
        "decoded_size": {},
    }  # fmt: skip
    for name, at_least in AT_LEAST.items():

        def read_all(at_least: Size | None = at_least) -> None:
            for file in files:
                read_image(file, at_least)

        read_all()  # the first time reads the disk
        passes = [timed(read_all) for _ in range(data.passes)]
        rate, of_process = (
            len(files) / float(np.median([getattr(one, kind) for one in passes])) for kind in ("seconds", "process")
        )
        height, width = read_image(files[0], at_least)[0].shape[:2]
        found["decoded_size"][name] = [height, width]
        found["decoded_per_s"][name], found["decoded_per_process_s"][name] = round(rate, 1), round(of_process, 1)
        faster = of_process / found["decoded_per_process_s"]["full"]
        asked = "whole" if at_least is None else f"at least {name}, decoded {height}x{width}"
        print(
            f"1080x1920 pictures of {size / 1e3:.0f} kB, {asked}: {rate:,.0f} pictures/s ({of_process:,.0f} a second of the "
            f"process, {faster:.1f} times whole)"
        )
    return found
