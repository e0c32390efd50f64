"""NAVSIM logs as clips for a codebook: frames, poses, camera; what is absent ends a shot and is counted."""

import pickle
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from latentdrive.build import build
from latentdrive.config import compose
from latentdrive.data.clips.clip_source import ReadableSource
from latentdrive.data.clips.file_clips import FileClips
from latentdrive.data.navsim.clip_source import NavsimClips
from latentdrive.errors import ConfigError, NoClips, UnreadableClip
from latentdrive.types import Command
from tests.support.data import reading
from tests.support.navsim_fixture import HEIGHT, WIDTH, token, write_openscene, write_split


def clips(root: Path, **changed: Any) -> NavsimClips:
    own = {
        "splits": str(root / "splits"),
        "data_split": None,
        "camera": "cam_f0",
        "cache_folder": str(root / "cache"),
        "processes": 1,
    }
    own |= {name: changed.pop(name) for name in own.keys() & changed.keys()}
    shared = {"split": "train", "rate_hz": 2.0, "field_of_view_deg": 64.0} | changed
    return NavsimClips(**reading(shared.pop("path", root), **shared), **own)


def test_a_log_is_a_clip_with_its_poses_and_its_camera(tmp_path: Path):
    source = clips(write_openscene(tmp_path))
    assert isinstance(source, ReadableSource) and len(source) == 1
    clip, facts = source.read(0)
    assert clip.frames.shape == (20, 3, 48, 80) and (clip.key, clip.drive, clip.pose_source) == (
        "north",
        "north",
        "recorded",
    )
    np.testing.assert_allclose(clip.times_s, np.arange(20) / 2)
    np.testing.assert_allclose(clip.ego_poses, [[2.5 * k, 0, 0] for k in range(20)], atol=1e-5)
    np.testing.assert_allclose(clip.ego_speed_mps, 5.0)
    assert clip.poses_causal.all() and (clip.shots == 0).all()
    # 108 x 192 → 48 x 80: scaled by 48 / 108 to 48 x 85, of which the middle 80 columns stay.
    np.testing.assert_allclose(clip.intrinsics[:2, :2], np.diag([150 * 48 / 108] * 2), rtol=0.01)
    np.testing.assert_allclose(clip.intrinsics[:2, 2], [39.5, 23.5], atol=0.6)
    assert (facts.source_height, facts.source_width, facts.frames_read) == (HEIGHT, WIDTH, 20)
    np.testing.assert_allclose(np.array(facts.camera_to_ego)[:, 3], [1.5, 0, 1.6, 1])
    assert facts.source_hz == pytest.approx(2.0) and facts.pose_note == "recorded: NAVSIM log, metres, of the rear axle"
    assert source.header_duration_s(0) == pytest.approx(9.5)


def test_a_split_chooses_logs_by_name_or_by_token(tmp_path: Path):
    root = write_openscene(tmp_path)
    assert clips(root, split="val").key(0) == "east"
    write_split(root / "splits", "tokens", tokens=[token("north", 4)])
    assert clips(root, split="tokens").names == ["north"]
    everything = clips(root, split=None, splits=None, data_split="mini")
    assert everything.names == ["east", "north"]
    write_split(root / "splits", "none", log_names=["south"])
    with pytest.raises(NoClips, match=r"none of the 2 logs in .*/mini belongs to none"):
        clips(root, split="none")
    with pytest.raises(NoClips, match=r"no folder .*navsim_logs/SPLIT/LOG\.pkl"):
        clips(root, path=str(tmp_path / "x"))
    with pytest.raises(ConfigError, match="camera must be one of cam_f0"):
        clips(root, camera="front")


def test_images_that_are_absent_or_damaged_end_the_shot_and_are_counted(tmp_path: Path):
    root = write_openscene(tmp_path)
    images = root / "sensor_blobs" / "mini" / "north" / "CAM_F0"
    (images / f"{token('north', 6)}.jpg").unlink()
    (images / f"{token('north', 7)}.jpg").unlink()
    damaged = images / f"{token('north', 12)}.jpg"
    damaged.write_bytes(damaged.read_bytes()[:1000])
    clip, facts = clips(root).read(0)
    np.testing.assert_allclose(clip.times_s, [k / 2 for k in range(20) if k not in (6, 7, 12)])
    assert np.flatnonzero(np.diff(clip.shots)).tolist() == [5, 9] and facts.holes == 2
    assert f"2 of 20 images are not there, the first one: {images / token('north', 6)}.jpg" in facts.pose_note
    assert "1 of 20 images are damaged, the first one: " in facts.pose_note and str(damaged) in facts.pose_note


def test_a_log_is_one_recording_however_much_its_pictures_change(tmp_path: Path):
    root = write_openscene(tmp_path)
    images = root / "sensor_blobs" / "mini" / "north" / "CAM_F0"
    for k in range(10, 20):
        path = images / f"{token('north', k)}.jpg"
        cv2.imwrite(str(path), (255 - cv2.imread(str(path))) // 3)
    clip, facts = clips(root).read(0)
    assert (clip.shots == 0).all() and (facts.cuts, facts.holes) == (0, 0) and len(clip) == 20
    # The same frames as a video's reader would see them: a cut.
    assert FileClips.read(clips(root), 0)[1].cuts == 1


def test_bad_frames_are_left_out_like_missing_images(tmp_path: Path):
    def spoil(content):
        content[4]["ego2global_translation"][0] = np.nan

    clip, _ = clips(write_openscene(tmp_path, change=spoil)).read(0)
    assert len(clip) == 19 and np.flatnonzero(np.diff(clip.shots)).tolist() == [3]


def test_a_log_without_images_is_unreadable(tmp_path: Path):
    root = write_openscene(tmp_path, cameras=["CAM_L0"])
    with pytest.raises(
        UnreadableClip, match=r"north\.pkl: no image of cam_f0: 20 of 20 images are not there, .*CAM_F0"
    ):
        clips(root)[0]
    assert len(clips(root, camera="cam_l0")[0]) == 20
    assert clips(root).identity(0)["files"][1] is None


def test_an_unreadable_log_is_an_unreadable_clip_and_the_others_go_on(tmp_path: Path):
    root = write_openscene(tmp_path)
    path = root / "navsim_logs" / "mini" / "north.pkl"
    path.write_bytes(path.read_bytes()[:3000])
    source = clips(root, split=None, splits=None, data_split="mini")
    assert source.names == ["east", "north"] and len(source[0]) == 20 and source.header_duration_s(1) is None
    with pytest.raises(UnreadableClip, match=r"north\.pkl: refused: .*cut short"):
        source[1]


def test_the_identity_follows_the_files_the_camera_and_the_size(tmp_path: Path):
    root = write_openscene(tmp_path)
    first = clips(root).identity(0)
    assert clips(root).identity(0) == first
    assert clips(root, camera="cam_l0").identity(0) != first and clips(root, height=96).identity(0) != first
    (root / "sensor_blobs" / "mini" / "north" / "CAM_F0" / f"{token('north', 6)}.jpg").unlink()
    assert clips(root).identity(0) != first


def test_a_worker_process_reads_the_same_clip(tmp_path: Path):
    source = clips(write_openscene(tmp_path))
    clip = source[0]
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(source))[0].frames, clip.frames)


def test_the_configuration_opens_train_and_val(tmp_path: Path):
    root = write_openscene(tmp_path / "navsim")
    cfg = compose("train_codebook", ["data=navsim", f"data.path={root}", f"paths.data={tmp_path}"])
    data = build(cfg.data)
    assert [data.open(part).key(0) for part in ("train", "val")] == ["north", "east"]
    assert data.open("train")[0].frames.shape == (20, 3, 96, 160) and not data.has("probe")
    assert not list(root.glob("**/*.npz")), "caches belong into the cache folder"


def test_a_clip_has_the_commands_and_the_motion_of_its_log(tmp_path: Path):
    root = write_openscene(tmp_path)
    clip = clips(root)[0]
    assert clip.commands.tolist() == [Command.STRAIGHT] * 20
    np.testing.assert_allclose(clip.ego_motion, np.tile([5.0, 0.1, 0.2, 0.3], (20, 1)), rtol=1e-6)
    blind = clips(root, poses="none")[0]
    assert blind.ego_motion is None and blind.ego_poses is None


def test_every_split_beside_the_data_is_a_part_by_its_name(tmp_path: Path):
    root = write_openscene(tmp_path / "navsim")
    write_split(root / "splits", "mine", log_names=["east"])
    data = build(compose("label", ["model=x", "data=navsim", f"data.path={root}", f"paths.data={tmp_path}"]).data)
    assert data.open("mine").key(0) == "east" and "mine: 1 clip" in data.estimate(["train", "mine"])
    with pytest.raises(ConfigError, match=r"no part 'other', it has train, val, mine"):
        data.open("other")
    assert (data.split_of("train"), data.split_of("val")) == ("train", "val")
    with pytest.raises(ConfigError, match=r"no scenes for 'probe'.*name their split in data\.split"):
        data.split_of("probe")
    assert data.scenes.id_of("train") != data.scenes.id_of("val")
