"""The measurements of reading NAVSIM scenes, on a data set of two logs."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from latentdrive.data.navsim.sensor_files import read_image
from tests.support.map_file import FILE_VERSION, PLACE, small_map, write_index, write_map_file
from tests.support.navsim_fixture import LOGS, token, write_openscene, write_split
from tests.support.paths import TOOLS

CAMERAS = ("CAM_F0", "CAM_L0", "CAM_R0", "CAM_B0")
NAMES = [name.lower() for name in CAMERAS]


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch):
    """A module of tools/ by name."""

    def load(name: str) -> ModuleType:
        monkeypatch.syspath_prepend(str(TOOLS))
        return importlib.import_module(name)

    return load


@pytest.fixture
def navsim(tmp_path: Path) -> Path:
    """Two logs of 20 frames with four cameras, lidar, a map, and the split "both" of 12 scenes."""
    root = write_openscene(tmp_path / "navsim", cameras=CAMERAS)
    write_split(root / "splits", "both", log_names=list(LOGS))
    write_map_file(root / "maps" / PLACE / FILE_VERSION / "map.gpkg", small_map())
    write_index(root / "maps")
    return root


def everything(root: Path) -> dict[str, tuple[int, int]]:
    return {str(one): (one.stat().st_size, one.stat().st_mtime_ns) for one in root.rglob("*") if one.is_file()}


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
    found = json.loads((tmp_path / "bench.json").read_text())
    assert {"command", "commit", "machine", "seed"} <= found.keys() and str(tmp_path) not in found["command"]
    assert (found["many_scenes"]["scenes"], found["many_scenes"]["logs"]) == (300, 7)
    assert 0 < found["many_scenes"]["memory_before_gb"] <= found["many_scenes"]["peak_memory_gb"]
    # Frames 3 ... 9 of each log begin a whole scene, and frame 9 has no route.
    assert [found["navsim"]["opening"][key] for key in ("scenes", "logs", "frames")] == [12, 2, 40]
    rates = found["navsim"]["readings"]
    assert list(rates) == [
        "front camera, now",
        "front camera, now, shuffled",
        "front camera, history",
        "4 cameras and lidar, now",
        "front camera, now, 2 workers",
        "4 cameras and lidar, now, 2 workers",
        "truth alone",
    ]
    assert all(one["scenes"] == 12 and one["cold_per_s"] > 0 and one["warm_per_s"] > 0 for one in rates.values())
    assert all(0 < one["decoding_share_warm"] < 1 for one in rates.values() if "decoding_share_warm" in one)
    assert sum("decoding_share_warm" in one for one in rates.values()) == 4
    sizes = found["navsim"]["true_size"]["decoded_size"]
    assert sizes == {"full": [1080, 1920], "270x480": [270, 480], "96x160": [135, 240]}
    assert everything(navsim) == before  # measuring writes nothing there
    for name in rates:
        assert name in done.stdout


@pytest.mark.parametrize(
    ("cameras", "frames", "pictures"), [(NAMES[:1], "now", 1), (NAMES[:1], "all", 4), (NAMES, "now", 4)]
)
def test_the_clock_sees_every_picture_once_and_leaves_no_trace(
    tool, navsim: Path, tmp_path: Path, cameras, frames, pictures
):
    rates = tool("scene_rates")
    load = rates.JpegImageFile.load
    data = rates.Data(path=navsim, split="both", cache=tmp_path / "cache", maps=navsim / "maps", scenes=5, passes=1)
    reading = rates.Reading(cameras=tuple(cameras), frames=frames)
    source = data.open(reading)
    with rates.jpeg_clock() as clock:
        rates.in_process(source, reading, data.tokens(source))()
    assert clock.pictures == 5 * pictures and clock.seconds > 0
    assert rates.JpegImageFile.load is load
    read_image(navsim / "sensor_blobs" / "mini" / "east" / "CAM_F0" / f"{token('east', 3)}.jpg", None)
    assert clock.pictures == 5 * pictures


def test_workers_hand_over_what_is_in_the_scenes(tool, navsim: Path, tmp_path: Path):
    rates = tool("scene_rates")
    data = rates.Data(path=navsim, split="both", cache=tmp_path / "cache", maps=navsim / "maps", scenes=None, passes=1)
    source = data.open(rates.Reading(cameras=tuple(NAMES), lidar=True))
    scenes = [source[one] for one in data.tokens(source)[:2]]
    pixels, points = rates.handed_over(scenes)
    assert pixels.numel() == 2 * 4 * 3 * 108 * 192 and tuple(points.shape) == (6, 4)
    np.testing.assert_array_equal(pixels[: 3 * 108 * 192].reshape(3, 108, 192), scenes[0].cameras["front"][0].pixels)
    shuffled = data.tokens(source, shuffled=True)
    assert shuffled != list(source.tokens) and sorted(shuffled) == sorted(source.tokens)


def test_without_maps_truth_is_left_out_by_name(tool, navsim: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    rates = tool("scene_rates")
    data = rates.Data(path=navsim, split="both", cache=tmp_path / "cache", maps=tmp_path / "no", scenes=2, passes=1)
    found = rates.measure(data, NAMES[:2], 0)
    assert "truth alone" not in found["readings"] and "maps" not in found
    assert "2 cameras and lidar, now" in found["readings"]
    assert "truth alone: not measured" in capsys.readouterr().out


def test_pages_leave_memory_and_come_back(tool, tmp_path: Path):
    cache = tool("page_cache")
    path = tmp_path / "folder" / "noise.bin"
    path.parent.mkdir()
    path.write_bytes(np.random.default_rng(0).bytes(3 * 4096 * 16 + 1))
    there, pages = cache.pages_in_memory(path)
    assert there == pages == -(-path.stat().st_size // cache.mmap.PAGESIZE)
    dropped = cache.drop_pages([], written=[path.parent])
    there, _ = cache.pages_in_memory(path)
    assert dropped == pytest.approx(1 - there / pages)
    if there:
        pytest.skip("this file system keeps its files in memory")
    path.read_bytes()
    assert cache.pages_in_memory(path)[0] == pages


def test_enlarged_pictures_keep_what_they_show(tool, navsim: Path, tmp_path: Path):
    rates = tool("scene_rates")
    data = rates.Data(path=navsim, split="both", cache=tmp_path / "cache", maps=navsim / "maps", scenes=3, passes=1)
    rates.true_size(data, count=2)
    files = sorted((data.cache / "true_size").iterdir())
    assert len(files) == 2
    source = data.open(rates.Reading(cameras=("cam_f0",)))
    original = source[files[0].stem].cameras["front"][0].pixels.transpose(1, 2, 0)
    with Image.open(files[0]) as image:
        small = np.asarray(image.resize((192, 108), Image.Resampling.BOX))
    assert np.abs(small.astype(int) - original).mean() < 6
