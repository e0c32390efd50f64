"""doctor: counts, samples, and says what is wrong."""

import ast
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from latentdrive.commands import doctor
from latentdrive.config import compose
from latentdrive.errors import BrokenLinearAlgebra, ConfigError, NoClips, NoScenes, TooManyUnreadable
from latentdrive.integrations import devkit_probe
from tests.support.data import passing, write_poses, write_video
from tests.support.navsim_fixture import frames, write_log, write_openscene, write_split

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


@pytest.mark.parametrize(
    ("kept", "reason"), [(3, "of 20 images are not there"), (1000, "20 of 20 images are not there")]
)
def test_a_partial_download_is_told_as_such_and_hides_nothing_of_the_rest(openscene, capsys, kept, reason):
    for log in ("north", "east"):
        images = sorted((openscene / "sensor_blobs/mini" / log / "CAM_F0").iterdir())
        for image in [image for number, image in enumerate(images) if (number + 1) % kept]:
            image.unlink()
    with pytest.raises(TooManyUnreadable, match=r"train: 2 of 2 clips looked at can't be read"):
        navsim(openscene)
    output = capsys.readouterr().out
    assert reason in output and "val: 2 of 2 clips looked at can't be read" in output
    assert "Download this sensor" in output and "lower data.rate_hz to" not in output.partition("(it has")[0]
    assert "12 scenes in 2 of 2 logs" in output and "all files of cam_b0, lidar are there" in output
    whole = 4 if kept == 3 else 0
    assert f"{whole} of 12 scenes have all files of cam_f0, the sensors of data.scenes" in output
    assert ("data.scenes.complete_only=true keeps these alone" in output) == bool(whole)
    problems = json.loads((openscene.parent / "run/metrics.json").read_text())["problems"]
    assert len(problems) == 3 and problems[0].startswith("train: 2 of 2 clips")


def test_clips_that_lack_most_images_are_told_to(openscene, capsys):
    for image in (openscene / "sensor_blobs/mini").glob("*/CAM_F0/*.jpg"):
        if int(image.stem[-2:], 16) > 1:
            image.unlink()
    with pytest.raises(NoClips, match="no clip is long enough for one window"):
        navsim(openscene)
    assert (
        "2 of the clips looked at lack images, the first one: 18 of 20 images are not there" in capsys.readouterr().out
    )


def test_too_many_unreadable_logs_of_one_split_hide_no_other_split(openscene, capsys):
    write_log(openscene, "west", frames("north"), data_split="other")
    (openscene / "navsim_logs/other/south.pkl").write_bytes(b"cut short")
    write_split(openscene / "splits", "another", data_split="other")
    with pytest.raises(TooManyUnreadable, match=r"1 of 2 .*south\.pkl"):
        navsim(openscene)
    output = capsys.readouterr().out
    assert "!! another: " in output and "val: 12 scenes in 2 of 2 logs" in output


def devkit(tmp_path: Path, value: object, *words: str) -> dict:
    return doctor.run(compose("doctor", [f"devkit='{value}'", f"out={tmp_path / 'run'}", *words]))


def fake_python(path: Path, answer: str) -> Path:
    """An interpreter that prints what a probe would, or breaks. CORETYPE in it stands for OPENBLAS_CORETYPE."""
    path.write_text(f"#!/bin/sh\nCORETYPE=$OPENBLAS_CORETYPE\n{answer}\n")
    path.chmod(0o755)
    return path


BROKEN = json.dumps(
    {
        "python": "3.9.18",
        "executable": "/envs/navsim/bin/python",
        "processor": "Intel(R) Xeon(R) Platinum 8480C",
        "numpy": "1.23.4",
        "blas": ["openblas 0.3.20 Cooperlake"],
        "residuals": {"pinv": 0.37, "matrix product": 1e-16},
        "sound": False,
    }
)
SOUND = BROKEN.replace("0.37", "1e-14").replace("false", "true")


def test_the_environment_of_a_devkit_is_probed_with_its_own_interpreter(tmp_path, capsys):
    found = devkit(tmp_path, sys.executable)["devkit"]
    assert found["sound"] and found["numpy"] == np.__version__ and max(found["residuals"].values()) < 1e-10
    output = capsys.readouterr().out
    assert "linear algebra is sound: inverses and products are exact to" in output and "BLAS" in output
    assert "Data:" not in output and "Next: latentdrive doctor data=navsim" in output
    folder = tmp_path / "env/bin"
    folder.mkdir(parents=True)
    (folder / "python").symlink_to(sys.executable)
    assert devkit(tmp_path, tmp_path / "env")["devkit"]["sound"]


def test_a_broken_environment_ends_by_name_and_says_what_to_set(tmp_path, capsys):
    python = fake_python(tmp_path / "python", f"[ \"$CORETYPE\" = Haswell ] && echo '{SOUND}' || echo '{BROKEN}'")
    with pytest.raises(
        BrokenLinearAlgebra, match=r"/envs/navsim/bin/python computes wrong numbers \(pinv is off by 0\.37"
    ):
        devkit(tmp_path, python)
    output = capsys.readouterr().out
    for words in (
        "numpy 1.23.4",
        "Platinum 8480C; BLAS openblas 0.3.20 Cooperlake; OPENBLAS_CORETYPE not set",
        "!! linear algebra is BROKEN: pinv is off by 0.37, expected less than 1e-06",
        "export OPENBLAS_CORETYPE=Haswell before every run there, with which the same probe is sound",
        "make metric caches again",
    ):
        assert words in output
    python = fake_python(tmp_path / "python", f"echo '{BROKEN}'")
    with pytest.raises(BrokenLinearAlgebra, match=r"OPENBLAS_CORETYPE=Haswell does not mend it: pip install numpy"):
        devkit(tmp_path, python)


def test_a_version_that_is_broken_elsewhere_is_told(tmp_path, capsys):
    devkit(tmp_path, fake_python(tmp_path / "python", f"echo '{SOUND}'"))
    assert "-- numpy 1.23.4 is sound on this processor, but not on Intel's Cooper Lake" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("echo nothing; exit 3", "is no Python 3.8 or newer that can run the probe: exit status 3: nothing"),
        ("kill -ILL $$", "that can run the probe: exit status -4"),
        ("echo '[1]'", "that can run the probe"),
    ],
)
def test_what_is_no_interpreter_is_named(tmp_path, answer, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        devkit(tmp_path, fake_python(tmp_path / "python", answer))
    with pytest.raises(ConfigError, match="there is no such Python"):
        devkit(tmp_path, tmp_path / "nothing")
    (tmp_path / "text").write_text("no program")
    with pytest.raises(ConfigError, match="can't be run: Permission denied"):
        devkit(tmp_path, tmp_path / "text")


def test_the_probe_is_python_3_8_and_needs_nothing_but_numpy():
    source = Path(devkit_probe.__file__).read_text(encoding="utf-8")
    tree = ast.parse(source, feature_version=(3, 8))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert imported == {"json", "os", "platform", "sys", "numpy", "threadpoolctl"}
    assert not any(isinstance(node, ast.ImportFrom) for node in ast.walk(tree))


def test_the_probe_notices_a_wrong_inverse_a_wrong_product_and_nan(monkeypatch):
    assert devkit_probe.probe()["sound"]
    right = np.linalg.pinv
    for wrong in (lambda matrix: right(matrix) * 1.001, lambda matrix: right(matrix) * np.nan):
        monkeypatch.setattr(np.linalg, "pinv", wrong)
        found = devkit_probe.probe()
        assert not found["sound"] and found["residuals"]["pinv"] > devkit_probe.TOLERANCE
    monkeypatch.setattr(np.linalg, "pinv", lambda matrix: np.linalg.inv(np.zeros((2, 2))))
    assert "LinAlgError" in devkit_probe.probe()["error"]


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
