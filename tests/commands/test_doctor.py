"""doctor: counts, samples, and says what is wrong."""

from pathlib import Path

import numpy as np
import pytest

from latentdrive.commands import doctor
from latentdrive.config import compose
from latentdrive.errors import ConfigError, NoClips, NoScenes, TooManyUnreadable
from tests.support.data import passing, write_poses, write_video
from tests.support.navsim_fixture import write_openscene, write_split

TIMES = np.arange(60) / 10


@pytest.fixture
def clips(tmp_path):
    for number in range(3):
        write_video(tmp_path / f"clips/{number}.mp4", passing(number, TIMES * 20, (48, 80)), TIMES)
    return tmp_path / "clips"


def examine(clips, *overrides):
    words = [
        "data=video",
        f"data.path={clips}",
        "data.height=48",
        "data.width=80",
        "data.options.poses=recorded",
        f"out={clips.parent}/run",
    ]
    return doctor.run(compose("doctor", [*words, *overrides]))


def test_clips_are_counted_and_described(clips, capsys):
    assert examine(clips)["train"] == {"clips": 3, "looked_at": 3, "unreadable": 0, "too_short": 0}
    output = capsys.readouterr().out
    for part in (
        "train: 3 clips; 3 of them looked at",
        "come from 3 drives",
        "10 frames a second, read at 10; 80 x 48 pixels",
        "no poses",
        "camera guessed",
        "windows of 3 transitions of 0.5 s",
        "The cache needs about",
    ):
        assert part in output
    assert f"Next: latentdrive train codebook data=video data.path={clips}" in output


def test_a_sample_is_spread_over_all_clips(clips):
    assert examine(clips, "sample=2")["train"]["looked_at"] == 2


def test_recorded_poses_are_seen(clips, capsys):
    poses = np.stack([2 * TIMES, 0 * TIMES, 0 * TIMES], -1)
    for number in range(3):
        write_poses(clips / f"{number}.poses.csv", TIMES, poses, np.full(60, 2.0))
    examine(clips)
    assert "  ok recorded poses" in capsys.readouterr().out


def test_no_clip_is_an_error_that_names_a_way_to_get_some(tmp_path):
    with pytest.raises(NoClips, match=r"does not exist.*Clips without a download: latentdrive world path=FOLDER"):
        examine(tmp_path / "nothing")


def test_unreadable_clips_are_shown_and_beyond_the_bound_an_error(clips, capsys):
    (clips / "0.mp4").write_bytes(b"")
    (clips / "1.mp4").write_text("no video")
    with pytest.raises(
        TooManyUnreadable, match=r"train: 2 of 3 clips looked at can't be read, data\.max_unreadable allows 1\.00%"
    ):
        examine(clips)
    assert "0.mp4: the file is empty (0 bytes)" in capsys.readouterr().out
    assert examine(clips, "data.max_unreadable=0.7")["train"]["unreadable"] == 2


@pytest.fixture
def many(clips):
    """10 clips, the first of which can't be read."""
    (clips / "0.mp4").write_bytes(b"")
    for number in range(3, 10):
        (clips / f"{number}.mp4").symlink_to(clips / "1.mp4")
    return clips


def test_one_unreadable_clip_of_a_sample_is_a_warning_where_the_rest_may_be_fine(many, capsys):
    assert examine(many, "data.max_unreadable=0.1")["train"]["unreadable"] == 1
    output = capsys.readouterr().out
    assert "train: 1 of 8 clips looked at can't be read, data.max_unreadable allows 10.00% of all 10" in output
    assert "sample=10 looks at every clip" in output and "Next: " in output


def test_once_every_clip_was_looked_at_their_share_decides(many, capsys):
    assert examine(many, "data.max_unreadable=0.1", "sample=10")["train"]["unreadable"] == 1
    assert "clips looked at can't be read" not in capsys.readouterr().out
    with pytest.raises(TooManyUnreadable, match=r"train: 1 of 10 clips looked at can't be read"):
        examine(many, "data.max_unreadable=0.09", "sample=10")


def test_more_unreadable_clips_than_all_may_hold_are_an_error_in_any_sample(many):
    with pytest.raises(TooManyUnreadable, match=r"train: 1 of 8 clips looked at can't be read"):
        examine(many, "data.max_unreadable=0.09")  # none of 10


def test_a_sample_that_is_hardly_an_accident_is_an_error(clips):
    (clips / "0.mp4").write_bytes(b"")
    for number in range(3, 40):
        (clips / f"{number}.mp4").write_bytes(b"")
    with pytest.raises(TooManyUnreadable, match=r"train: 8 of 8 clips looked at can't be read"):
        examine(clips, "data.max_unreadable=0.45")  # 18 of 40 may be: the sample holds 8 of them 6 times in 10,000


def test_clips_too_short_for_a_window_are_an_error(clips):
    with pytest.raises(NoClips, match="no clip is long enough for one window"):
        examine(clips, "transitions=40")


def test_a_rate_that_does_not_divide_the_transition_is_an_error_with_rates_that_do(clips):
    with pytest.raises(ConfigError, match=r"set data\.rate_hz to one of"):
        examine(clips, "data.rate_hz=3")


def test_a_dry_run_looks_at_the_machine_only(tmp_path, capsys):
    assert examine(tmp_path / "nothing", "dry_run=true") == {}
    assert "CPU cores" in capsys.readouterr().out


def navsim(root, *overrides):
    home = Path(root).parent
    words = ["data=navsim", f"data.path={root}", f"data.cache_folder={home / 'data/cache'}", f"out={home / 'run'}"]
    return doctor.run(compose("doctor", [*words, *overrides]))


@pytest.fixture
def openscene(tmp_path):
    root = tmp_path / "openscene"
    write_openscene(root, count=20, sensors=True, cameras=("CAM_F0", "CAM_B0"))
    for name in ("train", "val"):
        write_split(root / "splits", name)
    return root


def test_scenes_missing_files_and_maps_are_told(openscene, capsys):
    counts = navsim(openscene)
    assert counts["scenes"]["train"] > 0 and counts["train"]["clips"] == 2
    output = capsys.readouterr().out
    for part in (
        "ok train: ",
        "scenes in 2 of 2 logs",
        "all files of cam_f0, cam_b0, lidar are there",
        "-- train: no file of cam_l0, cam_l1, cam_l2, cam_r0, cam_r1, cam_r2 in",
        "!! train: no scene in us-ma-boston can be scored",
        "scenes a second on one core",
        f"Next: latentdrive train codebook data=navsim data.path={openscene}",
    ):
        assert part in output


def test_a_file_that_is_missing_is_counted_and_named_once(openscene, capsys):
    victim = sorted((openscene / "sensor_blobs").glob("*/*/CAM_B0/*.jpg"))[5]
    victim.unlink()
    navsim(openscene)
    output = capsys.readouterr().out
    assert "files of cam_b0 are missing" in output and victim.name in output


def test_a_split_that_was_not_downloaded_is_lacking_and_no_fault(openscene, capsys):
    write_split(openscene / "splits", "navmini", data_split="elsewhere")
    assert "navmini" not in navsim(openscene)["scenes"]
    assert "  -- navmini: there is no folder" in capsys.readouterr().out


def test_no_scene_at_all_is_an_error(openscene):
    for name in ("train", "val"):
        write_split(openscene / "splits", name, tokens=["0" * 16])
    with pytest.raises(NoClips, match=r"none of the 2 logs .* belongs to train: choose another split"):
        navsim(openscene)
    with pytest.raises(
        NoScenes, match=r"no scene can be used\. train: no scene in .*left out: .*not in the filter's tokens"
    ):
        navsim(openscene, "data.split.train=null", "data.split.val=null")


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match="no split 'train': looked for"):
        navsim(tmp_path / "nowhere")


@pytest.fixture
def copy_elsewhere(openscene, monkeypatch):
    """The data's splits lie elsewhere, as the devkit's do; the working folder is that of the test."""
    monkeypatch.chdir(openscene.parent)
    monkeypatch.delenv("LATENTDRIVE_PATHS", raising=False)
    (openscene / "splits").rename(openscene.parent / "devkit")
    return openscene, ["data.splits=devkit", "data.split.test=val"]


def test_saved_places_make_the_next_command_short(copy_elsewhere, capsys):
    root, words = copy_elsewhere
    navsim("openscene", *words, "save=latentdrive.yaml")
    output = capsys.readouterr().out
    assert "saved in latentdrive.yaml, which every command that is given in this folder reads: " in output
    assert "Next: latentdrive train codebook data=navsim data.cache_folder=data/cache\n" in output
    short = compose("evaluate", ["data=navsim"])
    assert (short.data.path, short.data.splits) == (str(root), str(root.parent / "devkit"))
    assert short.data.split.plain() == {"train": "train", "val": "val", "test": "val"}
    again = doctor.run(compose("doctor", ["data=navsim", "out=run", "paths.data=data"]))
    assert again["scenes"]["val"] > 0 and "ok places of this machine: latentdrive.yaml" in capsys.readouterr().out


def test_a_file_elsewhere_is_read_once_the_environment_names_it(copy_elsewhere, capsys):
    root, words = copy_elsewhere
    navsim("openscene", *words, "save=here/mine.yaml")
    output = capsys.readouterr().out
    assert (
        f"Next: export LATENTDRIVE_PATHS={root.parent}/here/mine.yaml && latentdrive train codebook data=navsim"
        in output
    )


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("data.splits=nowhere", "data.splits=nowhere: there is no such folder, so nothing is saved"),
        ("data.scenes.maps.root=nowhere", "data.scenes.maps.root=nowhere: there is no such folder"),
        (
            "data.split.val=mine",
            "data.split.val=mine: there is no such split, so nothing is saved; there are train, val",
        ),
    ],
)
def test_nothing_is_saved_that_is_not_there(copy_elsewhere, word, message):
    _, words = copy_elsewhere
    with pytest.raises(ConfigError, match=message.replace(".", r"\.")):
        navsim("openscene", *words, word, "save=latentdrive.yaml")
    assert not (copy_elsewhere[0].parent / "latentdrive.yaml").exists()


def test_only_navsim_data_are_remembered(clips):
    with pytest.raises(ConfigError, match=r"save=x\.yaml remembers data=navsim and data=navhard; data=video is given"):
        examine(clips, "save=x.yaml")


@pytest.mark.parametrize("word", ["save=[a]", "save={a:1}", "save=true", "save="])
def test_what_is_no_name_of_a_file_is_refused(openscene, word):
    with pytest.raises(ConfigError, match=r"^save= expects the name of a file"):
        navsim(openscene, word)


def test_a_file_that_cannot_be_written_is_said_before_the_survey(openscene, capsys):
    (openscene.parent / "note").write_text("a file")
    (openscene.parent / "mine.yaml").write_text("# mine")
    for name, message in (
        ("note/p.yaml", "can't be written: Not a directory"),
        ("mine.yaml", "did not write this file"),
    ):
        with pytest.raises(ConfigError, match=message):
            navsim(openscene, f"save={openscene.parent / name}")
    assert "Data: " not in capsys.readouterr().out


def test_a_number_is_a_name_too(openscene, monkeypatch):
    monkeypatch.chdir(openscene.parent)
    navsim(openscene, "save=5")
    assert (openscene.parent / "5").is_file()
