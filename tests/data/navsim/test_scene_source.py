"""NAVSIM scenes: what the car sees, what scoring may know, and the messages for incomplete data."""

import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from latentdrive.data.batches.scene_cutting import scene_batch
from latentdrive.data.navsim.opening import counts_of, open_navsim_logs
from latentdrive.data.navsim.scene_source import NavsimLogs
from latentdrive.errors import ConfigError, MapError, NoScenes, UnreadableScene
from latentdrive.types import BoxCounts, Command, CountsBoxes, SceneSource, Timed
from tests.support.navsim_fixture import (
    FORWARD,
    START_US,
    WRITTEN,
    frames,
    points,
    token,
    write_log,
    write_openscene,
    write_split,
)
from tests.support.road_map import empty_map

BOSTON = empty_map("us-ma-boston")
ALL = {"num_history_frames": 4, "num_future_frames": 10, "frame_interval": 1, "has_route": True}
NOW = token("north", 5)


@pytest.fixture(scope="module")
def openscene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fixture's folder as it is; tests that change something write their own."""
    return write_openscene(tmp_path_factory.mktemp("openscene"))


def logs(root: Path, **changed: Any) -> NavsimLogs:
    options = {
        "path": str(root),
        "data_split": None,
        "split": "train",
        "splits": str(root / "splits"),
        "filter": None,
        "maps": {"us-ma-boston": BOSTON},
        "cameras": ["cam_f0", "cam_l0"],
        "camera_frames": "all",
        "lidar": True,
        "at_least": None,
        "cache_folder": str(root / "cache"),
        "processes": 1,
        "max_unreadable": 0.0,
    }
    return open_navsim_logs(**options | changed)


def test_a_split_gives_its_scenes_by_token(openscene: Path):
    source = logs(openscene)
    assert isinstance(source, SceneSource) and isinstance(source, Timed) and len(source) == 6
    assert source.tokens == tuple(token("north", k) for k in (3, 4, 5, 6, 7, 8))
    assert source.drive(NOW) == "north" and source.location(NOW).name == "north.pkl"
    assert source.place(NOW) == "us-ma-boston"
    time_us, pose = source.start(NOW)
    assert time_us == START_US + 2_500_000 and source.time_s(NOW) == 2.5
    np.testing.assert_allclose(pose, [1000, 2012.5, np.pi / 2])
    assert logs(openscene, split="val").tokens[0] == token("east", 3)


def test_without_a_split_there_are_all_scenes_of_the_data(openscene: Path):
    source = logs(openscene, split=None, splits=None, data_split="mini", filter=ALL)
    assert len(source) == 12 and source.drive(token("east", 3)) == "east"


def test_a_scene_holds_the_requested_pictures_and_nothing_later(openscene: Path):
    scene = logs(openscene)[NOW]
    assert set(scene.cameras) == {"front", "cam_l0"} and scene.token == NOW and scene.drive == "north"
    blobs = openscene / "sensor_blobs" / "mini" / "north"
    for name, folder in (("front", "CAM_F0"), ("cam_l0", "CAM_L0")):
        assert len(scene.cameras[name]) == 4
        for image, k in zip(scene.cameras[name], (2, 3, 4, 5)):
            stored = np.array(Image.open(blobs / folder / f"{token('north', k)}.jpg"))
            np.testing.assert_array_equal(image.pixels, stored.transpose(2, 0, 1))
    front = scene.cameras["front"][-1]
    np.testing.assert_array_equal(front.camera_to_ego[:3, :3], FORWARD)
    np.testing.assert_allclose(front.camera_to_ego[:, 3], [1.5, 0, 1.6, 1])
    np.testing.assert_array_equal(scene.lidar, points(5)[:4].T)
    now = logs(openscene, camera_frames="now", cameras=["cam_l0"], lidar=False)[NOW]
    assert list(now.cameras) == ["cam_l0"] and len(now.cameras["cam_l0"]) == 1 and now.lidar is None
    np.testing.assert_array_equal(now.cameras["cam_l0"][0].pixels, scene.cameras["cam_l0"][-1].pixels)


def test_the_ego_history_is_seen_from_now(openscene: Path):
    ego = logs(openscene, cameras=[], lidar=False)[NOW].ego
    np.testing.assert_allclose(ego.times_s, [-1.5, -1.0, -0.5, 0.0])
    np.testing.assert_allclose(ego.poses, [[-7.5, 0, 0], [-5, 0, 0], [-2.5, 0, 0], [0, 0, 0]], atol=1e-6)
    np.testing.assert_array_equal(ego.velocity[-1], np.float32([5, 0.1]))
    np.testing.assert_array_equal(ego.acceleration[0], np.float32([0.2, 0.3]))
    assert ego.command is Command.STRAIGHT and ego.command_known and ego.velocity_known and ego.poses_known


def test_smaller_pictures_come_with_smaller_intrinsics(openscene: Path):
    image = logs(openscene, at_least=[54, 96])[NOW].cameras["front"][0]
    assert image.pixels.shape == (3, 54, 96)
    # Half the size: focal lengths halve, and the centre of pixel 95.5 lies at 96 / 2 - 0.5.
    np.testing.assert_allclose(image.intrinsics, [[75, 0, 47.5], [0, 75, 26.5], [0, 0, 1]])


def test_scenes_make_a_batch_for_the_teacher(openscene: Path):
    source = logs(openscene)
    batch = scene_batch([source[token] for token in source.tokens[:2]], height=32, width=64)
    assert batch.images.shape == (2, 4, 3, 32, 64)
    assert batch.command.tolist() == [1, 1] and bool(batch.command_known.all())


def test_the_truth_is_in_the_global_frame(openscene: Path):
    truth = logs(openscene, cameras=[], lidar=False).truth(NOW)
    assert (len(truth.frames), truth.now, truth.route, truth.map.name) == (14, 3, ("101", "102", "103"), "us-ma-boston")
    now = truth.frames[truth.now]
    assert now.token == NOW and now.timestamp_us == START_US + 2_500_000
    np.testing.assert_allclose(now.ego_pose, [1000, 2012.5, np.pi / 2])
    # Facing north, 10 m ahead is +10 in y and 2 m to the left is -2 in x; so for velocities.
    np.testing.assert_allclose(now.objects.poses, [[998, 2022.5, np.pi / 2 + 0.1], [1001, 2017.5, np.pi / 2]])
    np.testing.assert_allclose(now.objects.velocity, [[-1, 3], [0, 0]], atol=1e-12)
    np.testing.assert_allclose(now.objects.sizes, [[4.5, 1.9, 1.6], [0.3, 0.3, 0.8]])
    np.testing.assert_allclose(now.objects.centre_z_m, [0.8, 0.4])
    assert now.objects.names == ("vehicle", "traffic_cone") and now.objects.tracks == ("car", "cone")
    assert now.lights == (("7001", False), ("7002", False)) and truth.frames[4].lights[0] == ("7001", True)
    np.testing.assert_array_equal(now.velocity, np.float32([5, 0.1]))
    assert truth.human.dt_s == 0.5 and truth.human.poses.dtype == np.float64 and not truth.synthetic
    np.testing.assert_allclose(truth.human.poses, [[2.5 * k, 0, 0] for k in range(1, 11)], atol=1e-9)


def test_headings_of_objects_are_wrapped(tmp_path: Path):
    def turn(content):
        for entry in content:
            entry["anns"]["gt_boxes"][:, 6] = [3.0, -5.0]  # OpenScene does not wrap them

    source = logs(write_openscene(tmp_path, sensors=False, change=turn), cameras=[], lidar=False)
    headings = source.truth(NOW).frames[0].objects.poses[:, 2]
    np.testing.assert_allclose(headings, [np.pi / 2 + 3 - 2 * np.pi, np.pi / 2 - 5 + 2 * np.pi])


def test_without_annotations_there_are_scenes_but_no_truth(tmp_path: Path):
    def hide(content):
        for entry in content:
            del entry["anns"]

    source = logs(write_openscene(tmp_path, sensors=False, change=hide), cameras=[], lidar=False)
    assert source[NOW].ego.command is Command.STRAIGHT
    with pytest.raises(UnreadableScene, match=rf"north\.pkl: scene {NOW} has no annotations"):
        source.truth(NOW)
    assert "20 frames without annotations" in source.summary()


def test_without_maps_only_the_truth_is_refused(openscene: Path):
    source = logs(openscene, maps=None)
    assert source[NOW].token == NOW
    with pytest.raises(MapError, match="needs the map us-ma-boston: give the folder of nuPlan's maps"):
        source.truth(NOW)


def test_a_missing_or_damaged_sensor_is_named_if_it_was_requested(tmp_path: Path):
    root = write_openscene(tmp_path)
    blobs = root / "sensor_blobs" / "mini" / "north"
    (blobs / "CAM_F0" / f"{token('north', 4)}.jpg").unlink()
    cloud = blobs / "MergedPointCloud" / f"{token('north', 7)}.pcd"
    cloud.write_bytes(cloud.read_bytes()[:-7])
    image = blobs / "CAM_L0" / f"{token('north', 8)}.jpg"
    image.write_bytes(image.read_bytes()[:900])
    source = logs(root)
    with pytest.raises(UnreadableScene, match=rf"CAM_F0/{token('north', 4)}\.jpg: the image is not there"):
        source[NOW]
    with pytest.raises(UnreadableScene, match=rf"{token('north', 8)}\.jpg: the image is damaged"):
        source[token("north", 8)]
    assert logs(root, camera_frames="now", cameras=["cam_f0"])[NOW].lidar is not None
    with pytest.raises(UnreadableScene, match=r"\.pcd: it is cut short: 2 of the 3 points"):
        logs(root, cameras=[])[token("north", 7)]
    with pytest.raises(UnreadableScene, match=r"CAM_B0/.*\.jpg: the image is not there"):
        logs(root, cameras=["cam_b0"])[NOW]


def test_missing_files_are_counted_by_listing_folders(tmp_path: Path):
    root = write_openscene(tmp_path)
    blobs = root / "sensor_blobs" / "mini" / "north"
    (blobs / "CAM_F0" / f"{token('north', 4)}.jpg").unlink()
    for cloud in (blobs / "MergedPointCloud").iterdir():
        cloud.write_bytes(b"")  # not opened, so not noticed here
    source = logs(root, split=None, data_split="mini", filter=ALL)
    files = source.missing()
    # Frames 0 ... 8 of both logs are seen by some scene; the lidar only at now, 3 ... 8.
    assert (files["cam_f0"].needed, files["cam_f0"].absent) == (18, 1)
    assert files["cam_f0"].example == f"north/CAM_F0/{token('north', 4)}.jpg"
    assert (files["cam_l0"].absent, files["lidar"].needed, files["lidar"].absent) == (0, 12, 0)
    everything = source.missing(sensors=["cam_b0"], sample=2)
    assert (everything["cam_b0"].needed, everything["cam_b0"].absent) == (8, 8)
    whole = source.complete()
    assert len(whole) == 12 - 4 and NOW not in whole  # four scenes of the log see its frame 4
    assert source.complete(["lidar"]) == source.tokens and source.complete(["cam_b0"]) == ()


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        (("anns",), "has no annotations, as in NAVSIM's private test data: it can be planned, not scored"),
        (("roadblock_ids",), "lacks roadblock_ids or traffic_lights: it can be planned, not scored"),
        (("traffic_lights",), "lacks roadblock_ids or traffic_lights: it can be planned, not scored"),
        (("map_location",), "names no map: it can be planned, not scored"),
        (("anns", "roadblock_ids", "traffic_lights", "map_location"), "has no annotations"),
    ],
)
def test_what_only_a_score_needs_may_be_missing(tmp_path: Path, keys: tuple[str, ...], reason: str):
    def private(content):
        for entry in content:
            for key in keys:
                del entry[key]

    source = logs(write_openscene(tmp_path, change=private))
    scene = source[NOW]
    assert scene.cameras["front"] and scene.ego.poses_known and source.start(NOW)[0] == START_US + 2_500_000
    with pytest.raises(UnreadableScene, match=reason):
        source.truth(NOW)


def test_a_private_log_may_end_at_now(tmp_path: Path):
    def private(content):
        for entry in content:
            del entry["anns"]
        return content[:6]

    source = logs(write_openscene(tmp_path, change=private))
    assert source.tokens == tuple(token("north", k) for k in (3, 4, 5)) and source[NOW].token == NOW


def test_boxes_that_a_score_lacks_are_counted_by_scene(tmp_path: Path):
    def spoil(content):
        content[6]["anns"]["gt_boxes"][1, 0] = np.nan
        content[8]["anns"]["gt_velocity_3d"][0, 0] = np.nan
        content[2]["anns"]["gt_boxes"][0, 0] = np.nan  # before now: no score reads it

    source = logs(write_openscene(tmp_path, sensors=False, change=spoil))
    assert isinstance(source, CountsBoxes)
    assert source.box_counts(NOW) == BoxCounts(lost=1, estimated=1)
    assert source.box_counts(token("north", 7)) == BoxCounts(lost=0, estimated=1)


def test_complete_scenes_alone_can_be_kept(tmp_path: Path):
    root = write_openscene(tmp_path)
    (root / "sensor_blobs/mini/north/CAM_F0" / f"{token('north', 4)}.jpg").unlink()
    source = logs(root, complete_only=True)
    assert source.tokens == (token("north", 3), token("north", 8)) and source.incomplete_scenes == 4
    assert source[token("north", 8)].token == token("north", 8)
    assert "2 scenes in 1 of 2 logs" in source.summary()
    assert "4 scenes left out, because a file of cam_f0, cam_l0, lidar is missing" in source.summary()
    assert logs(root).incomplete_scenes == 0 and len(logs(root)) == 6
    assert len(logs(root, complete_only=True, camera_frames="now")) == 5
    with pytest.raises(NoScenes, match=r"none of 6 scenes .* has all files of cam_b0"):
        logs(root, complete_only=True, cameras=["cam_b0"])


def test_sensors_that_are_not_requested_may_be_missing(tmp_path: Path):
    root = write_openscene(tmp_path, sensors=False)
    scene = logs(root, cameras=[], lidar=False)[NOW]
    assert scene.cameras == {} and scene.lidar is None


def test_a_wrong_folder_says_which_one_is_missing_and_what_must_be_there(openscene: Path, tmp_path: Path, monkeypatch):
    with pytest.raises(NoScenes, match=rf"no folder {tmp_path}/x; .*navsim_logs/SPLIT/LOG\.pkl and sensor_blobs/"):
        logs(openscene, path=str(tmp_path / "x"))
    with pytest.raises(NoScenes, match=rf"no folder {tmp_path}/navsim_logs;"):
        logs(openscene, path=str(tmp_path))
    with pytest.raises(NoScenes, match=r"no folder .*/navsim_logs/test; .*/navsim_logs holds mini"):
        logs(openscene, data_split="test")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NoScenes, match=rf"no folder data/navsim \(below {tmp_path}\)"):
        logs(openscene, path="data/navsim")


def test_a_split_of_other_data_names_absent_tokens_and_logs(openscene: Path):
    splits = openscene / "splits"
    absent = [f"{k:016x}" for k in range(5)]
    write_split(splits, "other", tokens=absent, log_names=["south", "west"])
    with pytest.raises(NoScenes) as caught:
        logs(openscene, split="other")
    text = str(caught.value)
    assert "2 logs with 40 frames, scenes of 14 frames; left out: no log of the filter is there" in text
    assert f"5 tokens of the filter are in none of them: {', '.join(absent[:3])}, ..." in text
    assert "2 logs of the filter are in none of them: south, west" in text
    write_split(splits, "long", num_future_frames=30)
    with pytest.raises(NoScenes, match=r"left out: 40 too short\. Lower num_history_frames"):
        logs(openscene, split="long")


def test_the_summary_counts_what_was_left_out(tmp_path: Path):
    def spoil(content):
        content[16]["ego2global_translation"][0] = np.nan
        content[0]["anns"]["gt_boxes"][0, 4] = -1

    root = write_openscene(tmp_path, sensors=False, change=spoil)
    write_split(root / "splits", "some", tokens=[NOW, "a" * 16], log_names=["north", "south"])
    (root / "navsim_logs" / "mini" / "east.pkl").write_bytes(b"\x80\x04.")
    (root / "navsim_logs" / "mini" / "notes.txt").touch()
    source = logs(root, split="some", max_unreadable=0.5)
    counts = counts_of(source)
    assert (counts.scenes, counts.drives, counts.logs, counts.frames, counts.lost_boxes) == (1, 1, 2, 20, 1)
    assert source.summary().splitlines()[0] == "1 scene in 1 of 2 logs, 20 frames"
    for words in (
        "scenes left out: 13 too short, 6 not in the filter's tokens",
        "1 unreadable log, the first one: east: refused: ",
        "bad frames: 1 not finite; the first one: north: frame 16, ego2global_translation",
        "1 annotated box left out",
        "1 token of the filter that no log holds: aaaaaaaaaaaaaaaa",
        "1 log of the filter without a file: south",
        "1 entry in the log folder beside the logs: notes.txt",
    ):
        assert words in source.summary()


def test_a_log_that_changes_or_goes_while_it_is_used_is_named(tmp_path: Path):
    root = write_openscene(tmp_path, sensors=False)
    source = logs(root, cameras=[], lidar=False)
    write_log(root, "north", frames("north", 10))
    with pytest.raises(UnreadableScene, match=r"north\.pkl: the log has changed since its folder was opened"):
        source[NOW]
    (root / "navsim_logs" / "mini" / "north.pkl").unlink()
    again = pickle.loads(pickle.dumps(source))
    with pytest.raises(UnreadableScene, match=r"north\.pkl: it can't be opened \(No such file"):
        again[NOW]


def test_an_unknown_token_or_camera_is_named(openscene: Path):
    with pytest.raises(UnreadableScene, match=r"no scene 'ffff' among the 6 of this split \(train\)"):
        logs(openscene)["ffff"]
    with pytest.raises(ConfigError, match=r"there is no camera CAM_F0, CAM_L0; NAVSIM has cam_f0, cam_l0"):
        logs(openscene, cameras=list(WRITTEN))
    with pytest.raises(ConfigError, match="must be now or all"):
        logs(openscene, camera_frames="last")
    with pytest.raises(ConfigError, match=r"without a split .* name the logs: data\.source\.data_split"):
        logs(openscene, split=None)
    with pytest.raises(ConfigError, match=r"data\.scenes\.filter: unknown key num_frames"):
        logs(openscene, split=None, data_split="mini", filter={"num_frames": 3})


def test_a_worker_process_opens_the_same_scenes(openscene: Path):
    source = logs(openscene)
    scene = source[NOW]
    again = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(again[NOW].cameras["front"][0].pixels, scene.cameras["front"][0].pixels)
    assert again.tokens == source.tokens and not re.search("north", str(again.__getstate__()["_open"]))
