"""The file of prepared scenes: every bit comes back, and polygons that scenes share are stored once."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from latentdrive.errors import WrongShape
from latentdrive.pdms.scene import Areas, Polygons, RedLights, ScoringScene, Tracks
from latentdrive.pdms.storage.scene_file import SceneFile, write_scenes
from tests.support.scoring_store import build, file_of, same


def odd_scene(seed: int) -> ScoringScene:
    """A scene of random bits: NaN, infinities and -0 among them; holes, an area without rings, names beyond ASCII."""
    rng = np.random.default_rng(seed)
    random = lambda *shape: rng.integers(0, 2**63, shape, np.int64).view(np.float64)  # noqa: E731
    rings = Polygons(
        vertices=random(12, 2), ends=np.array([0, 4, 7, 12], np.int32), owner=np.array([0, 0, 2], np.int32)
    )
    reference = random(51, 3)
    reference[0] = np.nan, -np.inf, -0.0
    return ScoringScene(
        token=f"tökén/{seed}",
        drive="",
        synthetic=seed % 2 == 1,
        generation=2,
        time_us=2**60 + seed,
        ego=random(11),
        areas=Areas(
            ids=("1", "1", "ü"),
            layers=np.array([0, 4, 3], np.int8),
            on_route=np.array([True, False, True]),
            polygons=rings,
        ),
        centreline=np.zeros((0, 3)),
        tracks=Tracks(
            tokens=("", "x\0y", "z"),
            names=("vehicle", "barrier", "vehicle"),
            sizes=random(3, 2),
            poses=random(41, 3, 3),
            present=rng.random((41, 3)) < 0.5,
            first_velocity=random(3, 2),
        ),
        lights=RedLights(
            connectors=("7",),
            red=rng.random((41, 1)) < 0.5,
            polygons=Polygons(vertices=random(3, 2), ends=np.array([0, 3], np.int32), owner=np.zeros(1, np.int32)),
        ),
        reference=reference,
        reference_product=-0.0,
        reference_progress_m=0.1,
        history=random(15, 11),
        human=random(8, 3),
        human_terms=random(8) if seed % 2 else None,
    )


def test_every_bit_comes_back(tmp_path: Path):
    scenes = {scene.token: ("key", scene) for scene in map(odd_scene, range(3))}
    write_scenes(tmp_path / "x.scenes", scenes, generation=2)
    with SceneFile(tmp_path / "x.scenes") as file:
        areas = file.areas()
        assert set(file.header.scenes) == set(scenes)
        for token, (_, scene) in scenes.items():
            restored = file.scene(token, areas)
            assert same(restored, scene) and not same(restored, replace(scene, time_us=0))


def test_polygons_that_scenes_share_are_kept_once(tmp_path: Path):
    build(tmp_path, tokens=("a@0", "a@1"))
    with SceneFile(file_of(tmp_path, "a")) as file:
        assert file.areas().ids == ["road", "isle"]


def test_rings_out_of_order_are_refused(tmp_path: Path):
    scene = odd_scene(0)
    rings = replace(scene.areas.polygons, owner=np.array([2, 0, 0], np.int32))
    scene = replace(scene, areas=replace(scene.areas, polygons=rings))
    with pytest.raises(WrongShape, match="rings of 3 polygons are not in the order of the polygons"):
        write_scenes(tmp_path / "x.scenes", {scene.token: ("key", scene)}, generation=2)
