"""`latentdrive train planner` as it is typed: it learns, resumes exactly, averages, and runs on several processes.

test_fused_training.py trains planners that fuse embeddings.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from latentdrive import checkpoint
from latentdrive.build import build
from latentdrive.commands import evaluate
from latentdrive.config import compose, from_yaml
from latentdrive.data.navsim.scenes import sensor_path
from latentdrive.errors import CheckpointError, ConfigError, TooManyUnreadable
from latentdrive.planners.baselines.ego_mlp import EgoMlp
from latentdrive.planners.loading import load_planner
from latentdrive.run_folder import CHECKPOINT
from latentdrive.types import SensorNeeds
from tests.support.command import weights
from tests.support.paths import CHECKPOINTS
from tests.support.planner import SHORT, hidden_pictures, killed_in_batch, train_planner

torch.set_num_threads(1)
PLAIN, AVERAGED = ("planner=ego_mlp",), ("planner=ego_mlp", "ema_decay=0.9")
Trained = Callable[..., Path]


@pytest.mark.parametrize(
    "changed",
    [
        PLAIN,
        AVERAGED,
        ("planner=ego_mlp", "trainer.accumulate_grad_batches=2"),
        (
            "planner=transfuser_tiny",
            "batches.batch_size=2",
            "trainer.val_check_interval=2",
            "model.backbone.exchange_dropout=0.3",
        ),
        ("planner=ipad_tiny", "batches.batch_size=2", "model.grid_mask=0.7"),
    ],
    ids=" ".join,
)
def test_a_killed_and_resumed_run_ends_with_the_same_weights(words, trained: Trained, tmp_path: Path, changed):
    with pytest.raises(ZeroDivisionError), killed_in_batch(6 if "accumulate" in changed[-1] else 4):
        train_planner(words, tmp_path, *changed)
    train_planner(words, tmp_path, *changed)
    assert weights(trained(*changed)) == weights(tmp_path)


def test_averaged_weights_survive_a_kill_after_the_last_step(words, trained: Trained, tmp_path: Path, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr("lightning.Trainer.validate", lambda *_, **__: 1 / 0)
        train_planner(words, tmp_path, *AVERAGED)
    train_planner(words, tmp_path, *AVERAGED)
    assert weights(trained(*AVERAGED)) == weights(tmp_path)


def test_averaged_weights_are_what_the_checkpoint_holds(trained: Trained):
    last = trained("planner=ego_mlp", "ema_decay=0.0")
    assert weights(trained(*PLAIN)) == weights(last) != weights(trained(*AVERAGED))


def test_held_out_scenes_are_scored_during_training_and_named_on_the_card(trained: Trained):
    planner, card = checkpoint.load(trained(*PLAIN) / CHECKPOINT, expect=EgoMlp)
    assert 0.0 <= card.metrics["held_out/pdms"] <= 1.0 and card.metrics["held_out/distance_m"] > 0
    assert card.data["held_out_scenes"] == 4 and card.data["scorer"] == "pdms_v1.1" and card.data["split"] == "train"
    assert planner.needs.cameras == () and not planner.needs.lidar


def test_plans_over_camera_and_map_go_to_tensorboard(trained: Trained):
    events = EventAccumulator(str(trained(*PLAIN)), size_guidance={"images": 0})
    events.Reload()
    tags = events.Tags()
    assert len(tags["images"]) == 3 and "held_out/pdms" in tags["scalars"]  # the first batch has three scenes


def test_a_planner_learns_to_plan_as_the_human_drove(words, tmp_path: Path):
    own, long = (
        ("planner=ego_mlp", "data.split.val=train"),
        (
            "training.schedule.steps=300",
            "training.schedule.warmup=10",
            "batches.batch_size=16",
            "trainer.val_check_interval=300",
        ),
    )
    before, after = (
        train_planner(words, tmp_path / name, *own, *more) for name, more in (("short", ()), ("long", long))
    )
    assert after["held_out/distance_m"] < 0.3 * before["held_out/distance_m"]


def test_scenes_with_a_missing_picture_are_counted_and_named(words, home: Path, tmp_path: Path):
    own = ("planner=ltf_tiny", f"data.cache_folder={tmp_path}/cache")
    with hidden_pictures(home, "CAM_L0") as pictures:
        with pytest.raises(TooManyUnreadable, match=r"data\.max_unreadable"):
            train_planner(words, tmp_path / "a", *own)
        train_planner(words, tmp_path / "b", *own, "data.max_unreadable=0.9")
    reasons = (tmp_path / "b/unreadable_train.csv").read_text()
    assert "the image is not there" in reasons and any(path.stem in reasons for path in pictures)


def test_a_run_is_not_resumed_with_other_usable_scenes(words, home: Path, tmp_path: Path):
    own = ("planner=ltf_tiny", "data.max_unreadable=0.9", f"data.cache_folder={tmp_path}/cache")
    with hidden_pictures(home, "CAM_L0"), pytest.raises(ZeroDivisionError), killed_in_batch(4):
        train_planner(words, tmp_path / "run", *own)
    with pytest.raises(ConfigError, match="learned from other scenes before it was interrupted"):
        train_planner(words, tmp_path / "run", *own)


def test_pictures_that_are_decoded_smaller_have_a_cache_of_their_own(words):
    folders = set()
    for size in ("null", "[64,112]"):
        cfg = compose("train_planner", [*words, "planner=ltf_tiny", f"data.scenes.at_least={size}"])
        folders.add(build(cfg.batches).cache("train", build(cfg.model).sensors).folder)
    assert len(folders) == 2


def test_another_map_has_a_cache_of_its_own(words, home: Path):
    def folder() -> Path:
        cfg = compose("train_planner", [*words, "planner=ltf_tiny"])
        return build(cfg.batches).cache("train", build(cfg.model).sensors).folder

    before, (file, *_) = folder(), (home / "navsim").rglob("map.gpkg")
    changed = file.stat().st_mtime_ns
    os.utime(file, ns=(changed, changed + 1))
    try:
        assert folder() != before
    finally:
        os.utime(file, ns=(changed, changed))
    assert folder() == before


def test_parts_that_start_anew_without_a_checkpoint_are_refused(words, tmp_path: Path):
    with pytest.raises(ConfigError, match=r"init\.without=\['layers'\] names parts of init\.checkpoint"):
        train_planner(words, tmp_path / "run", "planner=ego_mlp", "init.without=[layers]")


@pytest.mark.parametrize(
    ("sensor", "reason"),
    [("CAM_R0", "the image is not there"), ("MergedPointCloud", "the point cloud can't be opened")],
)
def test_a_scene_without_a_sensor_fails_alone_and_is_named(words, trained: Trained, tmp_path: Path, sensor, reason):
    run = trained("planner=transfuser_tiny", "batches.batch_size=2")
    needs = SensorNeeds(cameras=("cam_r0",), frames="now", lidar=False)
    source = build(compose("train_planner", words).data).open_scenes(split="test", needs=needs)
    token = source.tokens[1]
    cut = source.cut(token)
    path = source.blobs / sensor_path(cut.log, cut.now, "lidar" if "Cloud" in sensor else sensor.lower())
    hidden = path.rename(path.with_suffix(".gone"))
    own = ["planner=checkpoint", f"planner.folder={run / CHECKPOINT}", "data.split.test=test"]
    try:
        out = evaluate.run(
            compose("evaluate", [*words, *own, "processes=1", "pictures=0", f"out={tmp_path}/test"]),
        )
    finally:
        hidden.rename(path)
    summary = json.loads((out / "summary.json").read_text())
    assert list(summary["failures"]) == [token] and reason in summary["failures"][token]
    assert path.name in summary["failures"][token] and summary["failed"] == 1


def test_weights_of_another_planner_are_refused_with_both_sides(words, trained: Trained, tmp_path: Path):
    start = f"init.checkpoint={trained('planner=ltf_tiny') / CHECKPOINT}"
    with pytest.raises(CheckpointError, match=r"1 weights do not fit this model, for example backbone\.grid"):
        train_planner(words, tmp_path / "a", "planner=transfuser_tiny", start)
    with pytest.raises(CheckpointError, match="holds a Transfuser, expected Ipad"):
        train_planner(words, tmp_path / "b", "planner=ipad_tiny", start)


def test_a_checkpoint_that_is_no_planner_is_refused():
    folder = str(CHECKPOINTS / "world_codebook")
    with pytest.raises(CheckpointError, match="holds a Codebook, expected LearnedPlanner"):
        load_planner(folder=folder, latents=None, predictor=None, oracle_future=False, device="cpu")


def test_two_processes_train_one_planner(latentdrive, words, trained: Trained, tmp_path: Path):
    own = ("planner=ego_mlp", "trainer=ddp", "trainer.devices=2", "batches.batch_size=2", f"out={tmp_path}/run")
    done = latentdrive("train", "planner", *words, *SHORT, *own, timeout_s=500)
    assert done.returncode == 0, done.stderr
    planner, card = checkpoint.load(tmp_path / "run" / CHECKPOINT, expect=EgoMlp)
    # One process with the batches of both ends with the same weights.
    alone, _ = checkpoint.load(trained("planner=ego_mlp", "batches.batch_size=4") / CHECKPOINT, expect=EgoMlp)
    for weight, other in zip(planner.parameters(), alone.parameters()):
        assert torch.allclose(weight, other, atol=1e-5)
    assert list(tmp_path.rglob(checkpoint.WEIGHTS)) == [tmp_path / "run" / CHECKPOINT / checkpoint.WEIGHTS]
    assert 0.0 <= card.metrics["held_out/pdms"] <= 1.0 and done.stdout.count("Done in ") == 1
    settings = from_yaml((tmp_path / "run/resume/settings.yaml").read_text())
    assert settings["trainer"]["devices"] == 2


@pytest.mark.skipif(not torch.cuda.is_available(), reason="skipped: FSDP shards over GPUs, and there is none here")
def test_a_sharded_planner_ends_in_a_whole_checkpoint(words, tmp_path: Path):
    train_planner(
        words, tmp_path / "run", "planner=ego_mlp", "trainer=fsdp", "trainer.devices=1", "trainer.accelerator=gpu"
    )
    planner, _ = checkpoint.load(tmp_path / "run" / CHECKPOINT, expect=EgoMlp)
    assert all(np.isfinite(weight.detach().numpy()).all() for weight in planner.parameters())
