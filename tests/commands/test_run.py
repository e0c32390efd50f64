"""`run source=VIDEO`: a recording through a bundle's runtime, its annotated video and numbers, and what is refused."""

import json
from pathlib import Path

import av
import numpy as np
import pytest

from latentdrive.commands import run
from latentdrive.config import compose
from latentdrive.errors import BundleRefused, ConfigError
from tests.playback.test_source import recording
from tests.support.hand_bundle import write_bundle


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    recording(folder)
    write_bundle(folder / "bundle")
    write_bundle(folder / "three", cameras=("cam_l0", "cam_f0", "cam_r0"))
    return folder


def played(home: Path, out: str, *words: str) -> Path:
    given = [f"bundle={home / 'bundle'}", f"source={home / 'drive.mp4'}", f"out={home / out}", "threads=1"]
    return run.run(compose("run", [*given, *words]))


def test_a_recording_is_played_and_annotated(home: Path, capsys: pytest.CaptureFixture[str]):
    out = played(home, "played", "realtime=false", "plan_hz=5")
    numbers = json.loads((out / "metrics.json").read_text())
    assert numbers["plans"]["count"] == 10 and numbers["plans"]["planned"] == 10 and numbers["counts"]["frames"] == 20
    with av.open(str(out / "annotated.mp4")) as container:
        times = [frame.time for frame in container.decode(video=0)]
    np.testing.assert_allclose(times, np.arange(20) / 10, atol=2e-3)
    said = capsys.readouterr().out
    assert "10 plans: 10 planned" in said and f"Result: {out / 'annotated.mp4'}" in said


def test_it_plays_in_real_time(home: Path):
    numbers = json.loads((played(home, "real") / "metrics.json").read_text())
    assert numbers["plans"]["count"] >= 10 and numbers["seconds"] >= 1.9


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["bundle=null"], "a video is played through a bundle"),
        (["bundle=HOME/nothing"], "is no bundle: it has no bundle.json"),
        (["bundle=HOME/three"], "also looks at cam_l0, cam_r0, and the source is one front camera: others=black"),
        (["others=white"], "others=white is unknown: choose refuse or black"),
        (["command=back"], "command=back is unknown: choose left, straight, right or unknown"),
        (["provider=npu"], "provider=npu is unknown"),
        (["deadline_s=0.000001"], "is shorter than the first call"),
    ],
)
def test_a_mistake_is_one_sentence_and_leaves_no_video(home: Path, words: list[str], said: str):
    with pytest.raises((ConfigError, BundleRefused), match=said):
        played(home, "mistake", *(word.replace("HOME", str(home)) for word in words))
    assert not (home / "mistake" / "annotated.mp4").exists()


def test_other_cameras_can_be_black(home: Path):
    out = played(home, "black", f"bundle={home / 'three'}", "others=black", "realtime=false")
    assert json.loads((out / "metrics.json").read_text())["plans"]["planned"] == 20


def test_an_altered_bundle_is_refused(home: Path):
    altered = write_bundle(home / "altered")
    graph = bytearray((altered / "plan.onnx").read_bytes())
    graph[len(graph) // 2] ^= 1
    (altered / "plan.onnx").write_bytes(graph)
    with pytest.raises(BundleRefused, match=r"plan\.onnx was altered"):
        played(home, "altered_run", f"bundle={altered}")


def test_a_dry_run_writes_nothing_but_words(home: Path, capsys: pytest.CaptureFixture[str]):
    out = played(home, "dry", "dry_run=true")
    assert "dry run: would write" in capsys.readouterr().out and not (out / "annotated.mp4").exists()
