"""Scenes of NAVSIM v2's second stage, with what others do afterwards as objects of nuPlan."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from latentdrive.data.navsim.sensor_files import write_pcd
from latentdrive.data.navsim.synthetic import SyntheticScenes
from latentdrive.data.pickles.names import StandIn
from latentdrive.errors import NoScenes, TooManyUnreadable, UnreadableScene
from latentdrive.types import Command, SceneSource, Timed
from tests.support.navsim_fixture import START_US, points, write_split
from tests.support.road_map import empty_map
from tests.support.synthetic import detections, frame, thing, write_scene

TOKEN, PREVIOUS = "0123456789abcdef0", "0123456789abcdef1"
BOSTON = empty_map("us-ma-boston")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """warmup_two_stage/ with two scenes, the front images and the point clouds of one, and a split that names both."""
    root = tmp_path / "warmup_two_stage"
    write_scene(root, "aa", TOKEN)
    write_scene(root, "bb", PREVIOUS)
    for k in range(4):
        write_pcd(root / "sensor_blobs" / "scene" / f"{k}.pcd", points(k))
        image = root / "sensor_blobs" / frame(k)["camera_dict"]["cam_f0"]["data_path"]
        image.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((54, 96, 3), 40 * k, np.uint8)).save(image)
    text = f"reactive_all_mapping:\n- - '{'b' * 16}'\n  - '{'c' * 16}'\n  - - - '{TOKEN}'\n      - '{PREVIOUS}'\n"
    write_split(tmp_path / "splits", "warmup", data_split="test", more=text)
    return root


def scenes(root: Path, **changed: Any) -> SyntheticScenes:
    options = {
        "path": str(root),
        "split": "warmup",
        "splits": str(root.parent / "splits"),
        "maps": {"us-ma-boston": BOSTON},
        "cameras": ["cam_f0"],
        "camera_frames": "all",
        "lidar": True,
        "at_least": None,
        "cache_folder": str(root.parent / "cache"),
        "max_unreadable": 0.0,
    }
    return SyntheticScenes(**options | changed)


def test_a_synthetic_scene_is_seen_as_any_other(folder: Path):
    source = scenes(folder)
    assert isinstance(source, SceneSource) and not isinstance(source, Timed)
    assert source.tokens == (TOKEN, PREVIOUS) and source.absent == ()
    assert source.second_stages[0].followers == ((TOKEN, PREVIOUS),)
    scene = source[TOKEN]
    assert [int(image.pixels.mean()) for image in scene.cameras["front"]] == [0, 40, 80, 120]
    np.testing.assert_allclose(scene.ego.poses, [[-7.5, 0, 0], [-5, 0, 0], [-2.5, 0, 0], [0, 0, 0]], atol=1e-6)
    assert scene.ego.command is Command.LEFT and scene.drive == "north"
    np.testing.assert_array_equal(scene.lidar, points(3)[:4].T)
    assert source.read(TOKEN).original == "b" * 16 and source.drive(TOKEN) == "north"
    time_us, pose = source.start(TOKEN)
    assert time_us == START_US + 1_500_000
    np.testing.assert_allclose(pose, [10, 27.5, np.pi / 2])
    with pytest.raises(UnreadableScene, match="has no image of cam_b0"):
        scenes(folder, cameras=["cam_b0"])[TOKEN]


def test_its_truth_goes_on_with_others_alone(folder: Path):
    truth = scenes(folder).truth(TOKEN)
    assert (len(truth.frames), truth.now, truth.route) == (6, 3, ("101",)) and truth.human.poses.shape == (0, 3)
    now, later, last = truth.frames[3:]
    # 10 m ahead and 2 m to the left, facing north from (10, 27.5).
    np.testing.assert_allclose(now.objects.poses[0], [8, 37.5, np.pi / 2 + 0.1])
    assert now.lights == (("7001", True),)
    assert np.isnan(later.ego_pose).all() and later.timestamp_us == START_US + 2_000_000
    np.testing.assert_allclose(later.objects.poses, [[12, 20, np.pi / 2], [14, 20, np.pi / 2]])
    np.testing.assert_allclose(later.objects.sizes, [[4, 2, 1.5], [4, 2, 1.5]])
    np.testing.assert_allclose(later.objects.velocity, [[0, 3], [0, 0]])
    assert later.objects.names == ("vehicle", "traffic_cone") and later.objects.tracks == ("car", "cone")
    assert later.lights == (("7001", True),) and last.lights == (("7001", False),) and len(last.objects) == 0


def test_a_token_of_17_characters_marks_a_synthetic_scene_as_in_navsim(folder: Path):
    write_scene(folder, "cc", TOKEN[:16])
    source = scenes(folder, split=None, splits=None)
    assert [source.truth(token).synthetic for token in (TOKEN, PREVIOUS, TOKEN[:16])] == [True, True, False]


def test_later_objects_of_another_kind_are_an_error_in_the_truth_alone(folder: Path):
    write_scene(folder, "aa", TOKEN, extended_detections_tracks=[{"boxes": []}])
    source = scenes(folder)
    assert source[TOKEN].token == TOKEN
    with pytest.raises(UnreadableScene, match=r"aa\.pkl: what others do .* dict has no tracked_objects"):
        source.truth(TOKEN)


def test_a_later_object_of_unknown_velocity_moves_as_its_positions_do(folder: Path):
    later = [detections(thing(0, "car", x, (float("nan"), 0.0))) for x in (12.0, 14.0, 17.0)]
    write_scene(folder, "aa", TOKEN, extended_detections_tracks=later)
    frames = scenes(folder).truth(TOKEN).frames
    # Half a second apart; the frame before the first of them holds the car at (8, 37.5).
    assert [frame.objects.velocity[0].tolist() for frame in frames[4:]] == [
        pytest.approx([6.0, -17.5]),
        pytest.approx([5.0, 0.0]),
        pytest.approx([6.0, 0.0]),
    ]


def test_a_scene_without_route_lights_map_and_annotations_is_seen_and_not_scored(folder: Path):
    private = [frame(k) for k in range(4)]
    for entry in private:
        entry |= {"annotations": None, "roadblock_ids": None, "traffic_lights": None}
    metadata = {"log_name": "north", "map_name": None, "initial_token": TOKEN, "num_history_frames": 4}
    write_scene(folder, "aa", TOKEN, frames=private, scene_metadata=metadata, extended_detections_tracks=None)
    source = scenes(folder)
    assert source[TOKEN].cameras["front"] and source.tokens == (TOKEN, PREVIOUS)
    with pytest.raises(UnreadableScene, match="has no annotations"):
        source.truth(TOKEN)


@pytest.mark.parametrize(
    ("item", "words"),
    [
        (thing(9, "car", 12.0, None), "no type 9 of tracked objects"),
        (thing(0, "car", float("nan"), None), "a number of object car is not finite"),
        (thing(0, "car", 12.0, ("fast", 0.0)), "an attribute of object car is no number"),
        (StandIn(module="nuplan.common.actor_state.agent", kind="Agent"), "Agent has no tracked_object_type"),
    ],
)
def test_an_object_that_is_not_nuplans_is_named(folder: Path, item: StandIn, words: str):
    write_scene(folder, "aa", TOKEN, extended_detections_tracks=[detections(item)])
    with pytest.raises(UnreadableScene, match=rf"aa\.pkl: what others do .* {words}"):
        scenes(folder).truth(TOKEN)


def test_without_a_split_there_is_every_scene(folder: Path):
    assert scenes(folder, split=None, splits=None).tokens == (TOKEN, PREVIOUS)


def test_damaged_files_are_named_bounded_and_read_again_when_they_change(folder: Path):
    path = folder / "synthetic_scene_pickles" / "bb.pkl"
    whole = path.read_bytes()
    path.write_bytes(whole[:300])
    with pytest.raises(TooManyUnreadable, match=r"1 of 2 .*bb\.pkl: refused: "):
        scenes(folder)
    source = scenes(folder, max_unreadable=0.5)
    assert source.tokens == (TOKEN,) and source.absent == (PREVIOUS,) and "cut short" in source.unreadable["bb.pkl"]
    path.write_bytes(whole)
    assert scenes(folder).tokens == (TOKEN, PREVIOUS)
    spoilt = [frame(k) for k in range(4)]
    spoilt[2]["ego_status"]["ego_pose"][0] = np.nan
    write_scene(folder, "bb", PREVIOUS, frames=spoilt)
    assert "frame 2, ego_status.ego_pose: expected finite" in scenes(folder, max_unreadable=0.5).unreadable["bb.pkl"]


def test_only_new_files_are_read(folder: Path):
    files = []

    def progress(items, *, what):
        for item in items:
            files.append(item.name)
            yield item

    scenes(folder, progress=progress)
    write_scene(folder, "cc", "0123456789abcdef2")
    scenes(folder, progress=progress)
    assert files == ["aa.pkl", "bb.pkl", "cc.pkl"]


def test_a_folder_without_scenes_or_with_those_of_another_split_says_so(folder: Path, tmp_path: Path):
    words = r"synthetic_scene_pickles is not there\. Give NAVSIM v2's folder navhard_two_stage"
    with pytest.raises(NoScenes, match=words):
        scenes(tmp_path, split=None)
    text = f"reactive_all_mapping: [['a', 'b', [['{'d' * 17}', '{'e' * 17}']]]]\n"
    write_split(tmp_path / "splits", "other", data_split="test", more=text)
    with pytest.raises(NoScenes, match=r"2 synthetic scenes, 0 unreadable files; none of the 2 that split other names"):
        scenes(folder, split="other")
