"""`latentdrive train planner` as it is typed: learns, resumes exactly, averages, accumulates, on several processes, with embeddings."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from latentdrive import checkpoint
from latentdrive.build import build
from latentdrive.commands import evaluate
from latentdrive.config import compose, from_yaml
from latentdrive.data.navsim.scenes import sensor_path
from latentdrive.errors import CheckpointError, ConfigError, MixedCodebooks, StoreError, TooManyUnreadable, WrongShape
from latentdrive.planners.baselines.ego_mlp import EgoMlp
from latentdrive.planners.learned import load_planner
from latentdrive.planners.sampling import NO_SENSORS
from latentdrive.planners.training import PlannerTraining
from latentdrive.run_folder import CHECKPOINT
from latentdrive.types import Origin, SensorNeeds
from tests.support.planner import SHORT, train_planner, write_store, write_world

torch.set_num_threads(1)
FUSED = ("planner=ltf_tiny", "fusion=latent_tiny")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("planners")


@pytest.fixture(scope="module")
def words(home: Path) -> list[str]:
    return write_world(home)


@pytest.fixture(scope="module")
def windows(words: list[str]) -> list[tuple[str, float]]:
    """Drive and time of every scene."""
    data = build(compose("train_planner", words).data)
    scenes = [
        source[token]
        for source in map(lambda s: data.open_scenes(split=s, needs=NO_SENSORS), ("train", "val", "test"))
        for token in source.tokens
    ]
    return [(scene.drive, scene.time_s) for scene in scenes]


@pytest.fixture(scope="module")
def store(home: Path, windows: list[tuple[str, float]]) -> Path:
    return write_store(home / "teacher", windows)


def weights(out: Path) -> bytes:
    return (out / CHECKPOINT / checkpoint.WEIGHTS).read_bytes()


def killed_in_step(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = PlannerTraining.training_step, []

    def step(self, *given):
        calls.append(1)
        if len(calls) == number:
            raise ZeroDivisionError
        return real(self, *given)

    monkeypatch.setattr(PlannerTraining, "training_step", step)


@pytest.mark.parametrize(
    "changed",
    [
        ("planner=ego_mlp",),
        ("planner=ego_mlp", "ema_decay=0.9"),
        ("planner=ego_mlp", "trainer.accumulate_grad_batches=2"),
        ("planner=transfuser_tiny", "batches.batch_size=2", "model.backbone.exchange_dropout=0.3"),
        ("planner=ipad_tiny", "batches.batch_size=2", "model.grid_mask=0.7"),
    ],
    ids=lambda changed: " ".join(changed),
)
def test_a_killed_and_resumed_run_ends_with_the_same_weights(words, tmp_path: Path, monkeypatch, changed):
    train_planner(words, tmp_path / "whole", *changed)
    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        killed_in_step(6 if "accumulate" in changed[-1] else 4, patch)
        train_planner(words, tmp_path / "twice", *changed)
    train_planner(words, tmp_path / "twice", *changed)
    assert weights(tmp_path / "whole") == weights(tmp_path / "twice")


def test_averaged_weights_survive_a_kill_after_the_last_step(words, tmp_path: Path, monkeypatch):
    train_planner(words, tmp_path / "whole", "planner=ego_mlp", "ema_decay=0.9")
    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr("lightning.Trainer.validate", lambda *_, **__: 1 / 0)
        train_planner(words, tmp_path / "twice", "planner=ego_mlp", "ema_decay=0.9")
    train_planner(words, tmp_path / "twice", "planner=ego_mlp", "ema_decay=0.9")
    assert weights(tmp_path / "whole") == weights(tmp_path / "twice")


def test_averaged_weights_are_what_the_checkpoint_holds(words, tmp_path: Path):
    for name, decay in (("plain", "null"), ("last", "0.0"), ("average", "0.9")):
        train_planner(words, tmp_path / name, "planner=ego_mlp", f"ema_decay={decay}")
    assert weights(tmp_path / "plain") == weights(tmp_path / "last") != weights(tmp_path / "average")


def test_held_out_scenes_are_scored_during_training_and_named_on_the_card(words, tmp_path: Path):
    metrics = train_planner(words, tmp_path / "run", "planner=ego_mlp")
    assert 0.0 <= metrics["held_out/pdms"] <= 1.0 and metrics["held_out/distance_m"] > 0
    planner, card = checkpoint.load(tmp_path / "run" / CHECKPOINT, expect=EgoMlp)
    assert card.data["held_out_scenes"] == 4 and card.data["scorer"] == "pdms_v1.1" and card.data["split"] == "train"
    assert planner.needs.cameras == () and not planner.needs.lidar


def test_plans_over_camera_and_map_go_to_tensorboard(words, tmp_path: Path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train_planner(words, tmp_path / "run", "planner=ego_mlp")
    events = EventAccumulator(str(tmp_path / "run"), size_guidance={"images": 0})
    events.Reload()
    tags = events.Tags()
    assert len(tags["images"]) == 3 and "held_out/pdms" in tags["scalars"]  # one batch of three scenes


def test_a_planner_learns_to_drive_as_the_human_did(words, tmp_path: Path):
    many = (
        "training.schedule.steps=300",
        "training.schedule.warmup=10",
        "batches.batch_size=16",
        "trainer.val_check_interval=300",
    )
    short = train_planner(words, tmp_path / "short", "planner=ego_mlp", "data.split.val=train")
    long = train_planner(words, tmp_path / "long", "planner=ego_mlp", "data.split.val=train", *many)
    assert long["held_out/distance_m"] < 0.3 * short["held_out/distance_m"]


def test_a_fused_planner_is_trained_from_a_store_and_evaluated_with_it(words, store, home, tmp_path: Path):
    train_planner(words, tmp_path / "run", *FUSED, f"latents={store}")
    _, card = checkpoint.load(tmp_path / "run" / CHECKPOINT)
    assert card.parents["codebook"] == "book-a" and card.parents["labeller"] == "maker-book-a"
    planner = load_planner(
        folder=str(tmp_path / "run" / CHECKPOINT), latents=str(store), predictor=None, oracle_future=False, device="cpu"
    )
    assert planner.codebook_id == "book-a"
    out = evaluate.run(
        compose("evaluate", [*words, "planner=checkpoint", f"planner.folder={tmp_path / 'run' / CHECKPOINT}", f"planner.latents={store}", "data.split.test=test", "processes=1", "pictures=0", f"out={tmp_path}/test"])
    )  # fmt: skip
    summary = json.loads((out / "summary.json").read_text())
    assert summary["failed"] == 0 and summary["latents"]["origin"] == "teacher" and "oracle_future" not in summary


def test_a_store_of_another_split_is_refused_before_anything_is_scored(words, store, windows, tmp_path: Path):
    train_planner(words, tmp_path / "run", *FUSED, f"latents={store}")
    place, few = tmp_path / "run" / CHECKPOINT, write_store(tmp_path / "few", windows[:3])
    given = [
        *words,
        "planner=checkpoint",
        f"planner.folder={place}",
        f"planner.latents={few}",
        "data.split.test=test",
        "processes=1",
    ]
    with pytest.raises(StoreError, match=r"holds none of the 4 scenes \(its parts: all\): label their split"):
        evaluate.run(compose("evaluate", [*given, f"out={tmp_path}/out"]))


def test_an_oracle_of_the_future_is_marked_everywhere(words, windows, tmp_path: Path):
    codes = write_store(tmp_path / "codes", windows, origin=Origin.INVERSE_DYNAMICS)
    narrow = ("model.fusion.visual_width=16", "model.fusion.action_width=16")
    train_planner(words, tmp_path / "run", *FUSED, *narrow, f"latents={codes}", "oracle_future=true")
    place = tmp_path / "run" / CHECKPOINT
    assert checkpoint.read_card(place).data["oracle_future"] is True
    given = [
        *words,
        "planner=checkpoint",
        f"planner.folder={place}",
        f"planner.latents={codes}",
        "data.split.test=test",
        "processes=1",
        "pictures=0",
    ]
    with pytest.raises(ConfigError, match="trained on codes of the future"):
        evaluate.run(compose("evaluate", [*given, f"out={tmp_path}/a"]))
    out = evaluate.run(compose("evaluate", [*given, "planner.oracle_future=true", f"out={tmp_path}/b"]))
    assert json.loads((out / "summary.json").read_text())["oracle_future"] is True


def test_a_planner_and_embeddings_of_two_codebooks_are_refused_with_both_ids(words, store, windows, tmp_path: Path):
    train_planner(words, tmp_path / "run", *FUSED, f"latents={store}")
    other = write_store(tmp_path / "other", windows, codebook="book-b")
    with pytest.raises(MixedCodebooks, match=r"book-a, these are of codebook book-b"):
        load_planner(
            folder=str(tmp_path / "run" / CHECKPOINT),
            latents=str(other),
            predictor=None,
            oracle_future=False,
            device="cpu",
        )


def test_a_store_that_lacks_a_scene_is_refused_before_the_first_step(words, windows, tmp_path: Path):
    with pytest.raises(TooManyUnreadable, match="holds nothing for it"):
        train_planner(words, tmp_path / "run", *FUSED, f"latents={write_store(tmp_path / 'few', windows[:3])}")
    assert "holds nothing for it" in (tmp_path / "run/unreadable_train.csv").read_text()


def test_a_store_of_another_teachers_widths_is_refused_before_anything_is_opened(words, windows, tmp_path: Path):
    narrow = write_store(tmp_path / "narrow", windows, width=8)
    with pytest.raises(WrongShape, match="visual embeddings are 8 wide, this planner's fusion takes 96"):
        train_planner(words, tmp_path / "run", *FUSED, f"latents={narrow}", f"data.cache_folder={tmp_path}/cache")
    assert not list((tmp_path / "cache").rglob("cameras.npy"))


def test_a_fused_planner_may_start_from_one_without_fusion(words, store, tmp_path: Path):
    train_planner(words, tmp_path / "plain", "planner=ltf_tiny")
    still = ("training.optimizer.lr=0.0", "training.schedule.steps=2", "training.optimizer.weight_decay=0.0")
    start = f"init.checkpoint={tmp_path / 'plain' / CHECKPOINT}"
    train_planner(words, tmp_path / "fused", *FUSED, f"latents={store}", start, *still)
    (one, _), (two, _) = (checkpoint.load(tmp_path / name / CHECKPOINT) for name in ("plain", "fused"))
    assert all(torch.equal(weight, dict(two.named_parameters())[name]) for name, weight in one.named_parameters())


def test_a_store_that_was_labelled_anew_ends_the_run_that_began_with_the_old_one(
    words, windows, tmp_path: Path, monkeypatch
):
    place = write_store(tmp_path / "store", windows)
    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        killed_in_step(4, patch)
        train_planner(words, tmp_path / "run", *FUSED, f"latents={place}")
    shutil.rmtree(place)
    write_store(place, windows, codebook="book-b")
    with pytest.raises(ConfigError, match=r"another parents\.codebook"):
        train_planner(words, tmp_path / "run", *FUSED, f"latents={place}")


def test_nothing_starts_from_a_planner_that_knew_the_future(words, windows, tmp_path: Path):
    codes = write_store(tmp_path / "codes", windows, origin=Origin.INVERSE_DYNAMICS)
    narrow = ("model.fusion.visual_width=16", "model.fusion.action_width=16")
    train_planner(words, tmp_path / "oracle", *FUSED, *narrow, f"latents={codes}", "oracle_future=true")
    with pytest.raises(CheckpointError, match="nothing may start from it"):
        train_planner(
            words, tmp_path / "run", "planner=ltf_tiny", f"init.checkpoint={tmp_path / 'oracle' / CHECKPOINT}"
        )


def test_fusion_without_embeddings_and_embeddings_without_fusion_are_refused(words, store, tmp_path: Path):
    with pytest.raises(ConfigError, match="fusion=latent needs embeddings"):
        train_planner(words, tmp_path / "a", *FUSED)
    with pytest.raises(ConfigError, match="fuses nothing"):
        train_planner(words, tmp_path / "b", "planner=ego_mlp", f"latents={store}")
    with pytest.raises(ConfigError, match="blind baseline"):
        train_planner(words, tmp_path / "c", "planner=ego_mlp", "fusion=latent_tiny", f"latents={store}")


def test_scenes_with_a_missing_picture_are_counted_and_named(words, home, tmp_path: Path):
    blobs = home / "navsim/sensor_blobs/trainval"
    log = next(iter(sorted(blobs.iterdir())))
    pictures = sorted((log / "CAM_L0").glob("*.jpg"))
    hidden = [path.rename(path.with_suffix(".gone")) for path in pictures]
    try:
        with pytest.raises(TooManyUnreadable, match=r"data\.max_unreadable"):
            train_planner(words, tmp_path / "a", "planner=ltf_tiny", f"data.cache_folder={tmp_path}/cache")
        train_planner(
            words, tmp_path / "b", "planner=ltf_tiny", "data.max_unreadable=0.9", f"data.cache_folder={tmp_path}/cache"
        )
        named = (tmp_path / "b/unreadable_train.csv").read_text()
        assert "the image is not there" in named and any(path.stem in named for path in pictures)
    finally:
        for path in hidden:
            path.rename(path.with_suffix(".jpg"))


def test_scenes_that_come_back_after_an_interruption_end_the_run(words, home, tmp_path: Path, monkeypatch):
    own = ("planner=ltf_tiny", "data.max_unreadable=0.9", f"data.cache_folder={tmp_path}/cache")
    log = next(iter(sorted((home / "navsim/sensor_blobs/trainval").iterdir())))
    hidden = [path.rename(path.with_suffix(".gone")) for path in sorted((log / "CAM_L0").glob("*.jpg"))]
    try:
        with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
            killed_in_step(4, patch)
            train_planner(words, tmp_path / "run", *own)
    finally:
        for path in hidden:
            path.rename(path.with_suffix(".jpg"))
    with pytest.raises(ConfigError, match="learned from other scenes before it was interrupted"):
        train_planner(words, tmp_path / "run", *own)


def test_pictures_that_are_decoded_smaller_have_a_cache_of_their_own(words):
    folders = set()
    for size in ("null", "[64,112]"):
        cfg = compose("train_planner", [*words, "planner=ltf_tiny", f"data.scenes.at_least={size}"])
        folders.add(build(cfg.batches)._cache("train", build(cfg.model).sensors).folder)
    assert len(folders) == 2


def test_parts_that_begin_anew_without_a_checkpoint_are_refused(words, tmp_path: Path):
    with pytest.raises(ConfigError, match=r"init\.without=\['layers'\] names parts of init\.checkpoint"):
        train_planner(words, tmp_path / "run", "planner=ego_mlp", "init.without=[layers]")


@pytest.mark.parametrize(
    ("sensor", "reason"),
    [("CAM_R0", "the image is not there"), ("MergedPointCloud", "the point cloud can't be opened")],
)
def test_a_scene_without_a_sensor_fails_alone_and_is_named(words, home, tmp_path: Path, sensor, reason):
    train_planner(words, tmp_path / "run", "planner=transfuser_tiny", "batches.batch_size=2")
    source = build(compose("train_planner", words).data).open_scenes(
        split="test", needs=SensorNeeds(cameras=("cam_r0",), frames="now", lidar=False)
    )
    token = source.tokens[1]
    cut = source.cut(token)
    path = source.blobs / sensor_path(cut.log, cut.now, "lidar" if "Cloud" in sensor else sensor.lower())
    hidden = path.rename(path.with_suffix(".gone"))
    try:
        given = [
            "planner=checkpoint",
            f"planner.folder={tmp_path / 'run' / CHECKPOINT}",
            "data.split.test=test",
            "processes=1",
            "pictures=0",
        ]
        out = evaluate.run(compose("evaluate", [*words, *given, f"out={tmp_path}/test"]))
    finally:
        hidden.rename(path)
    summary = json.loads((out / "summary.json").read_text())
    assert list(summary["failures"]) == [token] and reason in summary["failures"][token]
    assert path.name in summary["failures"][token] and summary["failed"] == 1


def test_weights_of_another_planner_are_refused_with_both_sides(words, tmp_path: Path):
    train_planner(words, tmp_path / "ltf", "planner=ltf_tiny")
    start = f"init.checkpoint={tmp_path / 'ltf' / CHECKPOINT}"
    with pytest.raises(CheckpointError, match=r"1 weights do not fit this model, for example backbone\.grid"):
        train_planner(words, tmp_path / "a", "planner=transfuser_tiny", start)
    with pytest.raises(CheckpointError, match="holds a Transfuser, expected Ipad"):
        train_planner(words, tmp_path / "b", "planner=ipad_tiny", start)


def test_a_checkpoint_that_is_no_planner_is_refused(tmp_path: Path):
    shipped = Path(__file__).resolve().parents[2] / "checkpoints/world_codebook"
    with pytest.raises(CheckpointError, match="holds a Codebook, expected LearnedPlanner"):
        load_planner(folder=str(shipped), latents=None, predictor=None, oracle_future=False, device="cpu")


def test_two_processes_train_one_planner(latentdrive, words, tmp_path: Path):
    given = [
        *words,
        *SHORT,
        "planner=ego_mlp",
        "trainer=ddp",
        "trainer.devices=2",
        "batches.batch_size=2",
        f"out={tmp_path}/run",
    ]
    done = latentdrive("train", "planner", *given, timeout_s=500)
    assert done.returncode == 0, done.stderr
    planner, card = checkpoint.load(tmp_path / "run" / CHECKPOINT, expect=EgoMlp)
    train_planner(words, tmp_path / "alone", "planner=ego_mlp", "batches.batch_size=4")
    alone, _ = checkpoint.load(tmp_path / "alone" / CHECKPOINT, expect=EgoMlp)  # one process, the scenes of both
    for weight, other in zip(planner.parameters(), alone.parameters()):
        assert torch.allclose(weight, other, atol=1e-5)
    (tmp_path / "alone" / CHECKPOINT).rename(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / checkpoint.WEIGHTS).unlink()
    assert list(tmp_path.rglob(checkpoint.WEIGHTS)) == [tmp_path / "run" / CHECKPOINT / checkpoint.WEIGHTS]
    assert 0.0 <= card.metrics["held_out/pdms"] <= 1.0 and done.stdout.count("Done in ") == 1
    settings = from_yaml((tmp_path / "run/resume/settings.yaml").read_text())
    assert settings["trainer"]["devices"] == 2


@pytest.mark.skipif(not torch.cuda.is_available(), reason="skipped: FSDP shards over GPUs, and here is none")
def test_a_sharded_planner_ends_in_a_whole_checkpoint(words, tmp_path: Path):
    train_planner(
        words, tmp_path / "run", "planner=ego_mlp", "trainer=fsdp", "trainer.devices=1", "trainer.accelerator=gpu"
    )
    planner, _ = checkpoint.load(tmp_path / "run" / CHECKPOINT, expect=EgoMlp)
    assert all(np.isfinite(weight.detach().numpy()).all() for weight in planner.parameters())
