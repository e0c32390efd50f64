"""Readers of recordings and of what belongs to them: pickles of NAVSIM and ScenarioNet, sensor files, maps."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from latentdrive.data.maps.map_layers import LANE, LANE_INDEX, LANES, META, SPEED_LIMIT, read_layer, read_projection
from latentdrive.data.maps.nuplan_maps import NuplanMaps
from latentdrive.data.navsim.opening import open_navsim_logs
from latentdrive.data.navsim.sensor_files import image_size, read_image, read_pcd, write_pcd
from latentdrive.data.navsim.submission import read_submission, write_submission
from latentdrive.data.navsim.synthetic import SyntheticScenes
from latentdrive.data.pickles.reading import loads
from latentdrive.data.pickles.writing import write_pickle
from latentdrive.errors import MapError, RefusedPickle, UnreadableScene
from latentdrive.types import RoadMap, Trajectory
from tests.fuzz.formats import pickled_by_python
from tests.fuzz.harness import Reader
from tests.support.map_file import FILE_VERSION, PLACE, VERSION, small_map, write_index, write_map_file
from tests.support.navsim_fixture import frames, points, write_log, write_split
from tests.support.scenario import logs, scenario, turning, write_scenario
from tests.support.small_maps import road_map
from tests.support.synthetic import frame as synthetic_frame
from tests.support.synthetic import write_scene

PLACES = {"us-ma-boston": road_map()}
SENSORS = {"cameras": [], "camera_frames": "now", "lidar": False, "at_least": None}
BYTES = {".npz": None}  # nobody writes a cache by hand
TOKEN = "a" * 17


class _Maps:
    """Maps of the places that these files name."""

    def __getitem__(self, name: str) -> RoadMap:
        if name not in PLACES:
            raise MapError(f"there is no map of {name!r}")
        return PLACES[name]


def _scenes_of(source: Any) -> list[Any]:
    """Every scene of a source with its truth, or why it can't be had."""
    seen: list[Any] = []
    for token in source.tokens:
        try:
            seen += [source[token].ego, source.truth(token).frames, source.start(token), source.drive(token)]
        except (UnreadableScene, MapError) as error:
            seen.append(str(error))
    return seen


def _pickle(folder: Path, variant: int) -> None:
    write_pickle(folder / "plain.pkl", {"a": [1, 2.5, "text", None], "b": np.arange(6.0), "c": {variant: (b"x", True)}})


def _log(folder: Path, variant: int) -> None:
    write_log(folder, "north", frames("north", 5)[variant:])
    write_split(folder / "splits", "val", num_history_frames=2, num_future_frames=2, log_names=None)


def _read_log(folder: Path) -> Any:
    source = open_navsim_logs(
        path=str(folder),
        data_split=None,
        split="val",
        splits=str(folder / "splits"),
        filter=None,
        maps=_Maps(),
        cache_folder=str(folder / "cache"),
        processes=1,
        max_unreadable=1.0,
        **SENSORS,
    )
    return _scenes_of(source), source.summary()


def _log_with_cache(folder: Path, variant: int) -> None:
    _log(folder, variant)
    _read_log(folder)


def _synthetic(folder: Path, variant: int) -> None:
    write_scene(folder, "scene", TOKEN, frames=[synthetic_frame(k) for k in range(4 + variant)])


def _read_synthetic(folder: Path) -> Any:
    source = SyntheticScenes(
        path=str(folder),
        split=None,
        splits=None,
        maps=_Maps(),
        cache_folder=str(folder / "cache"),
        max_unreadable=1.0,
        **SENSORS,
    )
    return _scenes_of(source), source.summary()


def _synthetic_with_cache(folder: Path, variant: int) -> None:
    _synthetic(folder, variant)
    _read_synthetic(folder)


def _submission(folder: Path, variant: int) -> None:
    planned = {f"t{k}": Trajectory(poses=np.full((8, 3), k + variant, np.float32), dt_s=0.5) for k in range(3)}
    write_submission(folder / "submission.pkl", planned, about={"team_name": "us"}, second_stage={})


def _read_submission(folder: Path) -> Any:
    submission = read_submission(folder / "submission.pkl", seed=0)
    return submission.trajectories, submission.unusable, submission.about


def _scenario(folder: Path, variant: int) -> None:
    content = turning() if variant else scenario(seconds=6.0)
    content["dynamic_map_states"] = {"A": {"lane": "A", "state": {"object_state": ["TRAFFIC_LIGHT_RED"] * 61}}}
    if variant:
        content["dynamic_map_states"] = {}
    write_scenario(folder / "made.pkl", content)


def _read_scenario(folder: Path) -> Any:
    source = logs(folder, command="route", max_unreadable=1.0)
    return _scenes_of(source), source.summary(), [source.place(token) for token in source.tokens]


def _picture(seed: int) -> np.ndarray:
    return cv2.resize(np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8), (48, 32))


def _jpeg(folder: Path, variant: int) -> None:
    cv2.imwrite(str(folder / "a.jpg"), _picture(variant), [cv2.IMWRITE_JPEG_PROGRESSIVE, variant])


def _read_jpeg(folder: Path) -> Any:
    return read_image(folder / "a.jpg", None), read_image(folder / "a.jpg", (8, 12)), image_size(folder / "a.jpg")


def _map(folder: Path, variant: int) -> None:
    layers = small_map()
    layers["meta"]["value"][0] = f"boston{variant}"
    write_index(folder)
    write_map_file(folder / PLACE / FILE_VERSION / "map.gpkg", layers)


def _read_map(folder: Path) -> Any:
    maps = NuplanMaps(root=folder, version=VERSION)
    return maps[PLACE], maps.loose_ends(PLACE)


def _layer(folder: Path, variant: int) -> None:
    layers = {name: table for name, table in small_map().items() if name in (LANES, META)}
    layers[LANES]["speed_limit_mps"][1] = 10.0 + variant
    write_map_file(folder / "map.gpkg", layers)


def _read_layer(folder: Path) -> Any:
    rows = read_layer(folder / "map.gpkg", LANES, projection=read_projection(folder / "map.gpkg"))
    return rows.ids, rows.named(LANE), rows.numbers(SPEED_LIMIT), rows.numbers(LANE_INDEX), rows.rings()


NAVSIM_READERS = (
    Reader(
        name="pickle",
        make=_pickle,
        read=lambda folder: loads((folder / "plain.pkl").read_bytes(), "plain.pkl"),
        allowed=(RefusedPickle,),
    ),
    Reader(
        name="NAVSIM log",
        make=_log,
        read=_read_log,
        files=("navsim_logs/**/*.pkl",),
        formats={".pkl": pickled_by_python},
        writes=True,
    ),
    Reader(
        name="cache of NAVSIM logs",
        make=_log_with_cache,
        read=_read_log,
        files=("cache/**/*.npz",),
        formats=BYTES,
        checked=True,
        writes=True,
        share=0.5,  # the two caches of NAVSIM's recordings have one form
    ),
    Reader(name="synthetic scene", make=_synthetic, read=_read_synthetic, files=("**/*.pkl",), writes=True),
    Reader(
        name="cache of synthetic scenes",
        make=_synthetic_with_cache,
        read=_read_synthetic,
        files=("cache/*.npz",),
        formats=BYTES,
        checked=True,
        writes=True,
        share=0.5,  # the two caches of NAVSIM's recordings have one form
    ),
    Reader(name="submission", make=_submission, read=_read_submission, checked=True),
    Reader(
        name="submission without a sum",
        make=_submission,
        read=_read_submission,
        files=("*.pkl",),
        seal=lambda folder: (folder / "submission.pkl.sha256").unlink(),
    ),
    Reader(name="scenario", make=_scenario, read=_read_scenario, formats={".pkl": pickled_by_python}),
    Reader(
        name="point cloud",
        make=lambda folder, variant: write_pcd(folder / "a.pcd", points(variant)),
        read=lambda folder: read_pcd(folder / "a.pcd"),
    ),
    Reader(name="image", make=_jpeg, read=_read_jpeg),
    Reader(name="layer of a map", make=_layer, read=_read_layer),
    Reader(name="map", make=_map, read=_read_map, files=("**/*.gpkg",), share=0.04),
)
