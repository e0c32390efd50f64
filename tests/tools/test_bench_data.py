"""The measurements of reading NAVSIM scenes, on a data set of two logs."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import page_cache
import pytest
import scene_rates
from PIL import Image

from latentdrive.data.navsim.sensor_files import read_image
from tests.support.map_file import FILE_VERSION, PLACE, small_map, write_index, write_map_file
from tests.support.navsim_fixture import LOGS, token, write_openscene, write_split
from tests.support.paths import TOOLS

CAMERAS = ("CAM_F0", "CAM_L0", "CAM_R0", "CAM_B0")
NAMES = [name.lower() for name in CAMERAS]


@pytest.fixture
def navsim(tmp_path: Path) -> Path:
    """Two logs of 20 frames with four cameras, lidar, a map, and the split "both" of 12 scenes."""
    root = write_openscene(tmp_path / "navsim", cameras=CAMERAS)
    write_split(root / "splits", "both", log_names=list(LOGS))
    write_map_file(root / "maps" / PLACE / FILE_VERSION / "map.gpkg", small_map())
    write_index(root / "maps")
    return root


def data_of(navsim: Path, folder: Path, **changed: Any) -> scene_rates.Data:
    """The split "both" with its maps, and a cache in `folder`; all its scenes are read once unless changed."""
    settings = {"path": navsim, "split": "both", "cache": folder / "cache", "maps": navsim / "maps"}
    return scene_rates.Data(**settings | {"scenes": None, "passes": 1} | changed)


def everything(root: Path) -> dict[str, tuple[int, int]]:
    return {str(file): (file.stat().st_size, file.stat().st_mtime_ns) for file in root.rglob("*") if file.is_file()}


def test_every_reading_is_measured_and_kept(navsim: Path, tmp_path: Path):
    before = everything(navsim)
    command = [
        sys.executable,
        str(TOOLS / "bench_data.py"),
        "--clips",
        "0",
        "--many",
        "300",
        "--many-logs",
        "7",
        "--navsim",
        str(navsim),
        "--split",
        "both",
        "--passes",
        "1",
        "--workers",
        "2",
        "--json",
        str(tmp_path / "bench.json"),
    ]
    environment = os.environ | {"PYTHONPATH": str(TOOLS.parent), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    record = json.loads((tmp_path / "bench.json").read_text())
    assert {"command", "commit", "machine", "seed"} <= record.keys() and str(tmp_path) not in record["command"]
    assert (record["many_scenes"]["scenes"], record["many_scenes"]["logs"]) == (300, 7)
    assert 0 < record["many_scenes"]["memory_before_gb"] <= record["many_scenes"]["peak_memory_gb"]
    # Frames 3 ... 9 of each log begin a whole scene, and frame 9 has no route.
    assert [record["navsim"]["opening"][key] for key in ("scenes", "logs", "frames")] == [12, 2, 40]
    rates = record["navsim"]["readings"]
    assert list(rates) == [
        "front camera, now",
        "front camera, now, shuffled",
        "front camera, history",
        "4 cameras and lidar, now",
        "front camera, now, 2 workers",
        "4 cameras and lidar, now, 2 workers",
        "truth alone",
    ]
    assert all(rate["scenes"] == 12 and rate["cold_per_s"] > 0 and rate["warm_per_s"] > 0 for rate in rates.values())
    assert all(0 < rate["decoding_share_warm"] < 1 for rate in rates.values() if "decoding_share_warm" in rate)
    assert sum("decoding_share_warm" in rate for rate in rates.values()) == 4
    sizes = record["navsim"]["true_size"]["decoded_size"]
    assert sizes == {"full": [1080, 1920], "270x480": [270, 480], "96x160": [135, 240]}
    assert everything(navsim) == before  # measuring writes nothing there
    for name in rates:
        assert name in done.stdout


@pytest.mark.parametrize(
    ("cameras", "frames", "pictures"), [(NAMES[:1], "now", 1), (NAMES[:1], "all", 4), (NAMES, "now", 4)]
)
def test_the_clock_sees_every_picture_once_and_leaves_no_trace(navsim: Path, tmp_path: Path, cameras, frames, pictures):
    load = scene_rates.JpegImageFile.load
    data = data_of(navsim, tmp_path, scenes=5)
    reading = scene_rates.Reading(cameras=tuple(cameras), frames=frames)
    source = data.open(reading)
    with scene_rates.jpeg_clock() as clock:
        scene_rates.in_process(source, reading, data.tokens(source))()
    assert clock.pictures == 5 * pictures and clock.seconds > 0
    assert scene_rates.JpegImageFile.load is load
    read_image(navsim / "sensor_blobs" / "mini" / "east" / "CAM_F0" / f"{token('east', 3)}.jpg", None)
    assert clock.pictures == 5 * pictures


def test_workers_hand_over_what_is_in_the_scenes(navsim: Path, tmp_path: Path):
    data = data_of(navsim, tmp_path)
    source = data.open(scene_rates.Reading(cameras=tuple(NAMES), lidar=True))
    scenes = [source[name] for name in data.tokens(source)[:2]]
    pixels, points = scene_rates.handed_over(scenes)
    assert pixels.numel() == 2 * 4 * 3 * 108 * 192 and tuple(points.shape) == (6, 4)
    np.testing.assert_array_equal(pixels[: 3 * 108 * 192].reshape(3, 108, 192), scenes[0].cameras["front"][0].pixels)
    shuffled = data.tokens(source, shuffled=True)
    assert shuffled != list(source.tokens) and sorted(shuffled) == sorted(source.tokens)


def test_without_maps_truth_is_left_out_by_name(navsim: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    data = data_of(navsim, tmp_path, maps=tmp_path / "no", scenes=2)
    record = scene_rates.measure(data, NAMES[:2], 0)
    assert "truth alone" not in record["readings"] and "maps" not in record
    assert "2 cameras and lidar, now" in record["readings"]
    assert "truth alone: not measured" in capsys.readouterr().out


def test_pages_leave_memory_and_come_back(tmp_path: Path):
    path = tmp_path / "folder" / "noise.bin"
    path.parent.mkdir()
    path.write_bytes(np.random.default_rng(0).bytes(3 * 4096 * 16 + 1))
    there, pages = page_cache.pages_in_memory(path)
    assert there == pages == -(-path.stat().st_size // page_cache.mmap.PAGESIZE)
    dropped = page_cache.drop_pages([], written=[path.parent])
    there, _ = page_cache.pages_in_memory(path)
    assert dropped == pytest.approx(1 - there / pages)
    if there:
        pytest.skip("this file system keeps its files in memory")
    path.read_bytes()
    assert page_cache.pages_in_memory(path)[0] == pages


def test_enlarged_pictures_keep_what_they_show(navsim: Path, tmp_path: Path):
    data = data_of(navsim, tmp_path, scenes=3)
    scene_rates.true_size(data, count=2)
    files = sorted((data.cache / "true_size").iterdir())
    assert len(files) == 2
    source = data.open(scene_rates.Reading(cameras=("cam_f0",)))
    original = source[files[0].stem].cameras["front"][0].pixels.transpose(1, 2, 0)
    with Image.open(files[0]) as image:
        small = np.asarray(image.resize((192, 108), Image.Resampling.BOX))
    assert np.abs(small.astype(int) - original).mean() < 6
