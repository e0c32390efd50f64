"""The second half of the walk: a codebook labels video, a teacher learns it, labels too, and a student learns that."""

from pathlib import Path

import av
import numpy as np
import pytest
import torch

from latentdrive import checkpoint
from latentdrive.build import build
from latentdrive.checkpoint import Card
from latentdrive.commands import label, train
from latentdrive.config import compose
from latentdrive.data.latent_store import LatentStore
from latentdrive.errors import InUse, LatentDriveError, StoreError
from latentdrive.locks import one_writer
from latentdrive.student.training import StudentTraining
from latentdrive.teacher.training import TeacherTraining
from latentdrive.types import Origin


def write_clip(path: Path, seed: int) -> None:
    """Eight seconds at 10 Hz of a view that slides over a random picture."""
    rng = np.random.default_rng(seed)
    picture = np.kron(rng.integers(0, 256, (6, 50, 3), np.uint8), np.ones((8, 8, 1), np.uint8))
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.height, stream.width, stream.pix_fmt = 48, 80, "yuv420p"
        for step in range(80):
            frame = np.ascontiguousarray(picture[:, 4 * step : 4 * step + 80])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """What every command of this walk is told about data and places."""
    for seed in range(3):
        write_clip(tmp_path / "clips" / f"{seed}.mp4", seed)
    return [
        "data=video",
        f"data.path={tmp_path}/clips",
        "data.height=48",
        "data.width=80",
        "data.options.poses=none",
        "data.part.train_share=0.5",
        f"paths.data={tmp_path}/data",
        f"paths.runs={tmp_path}/runs",
        f"paths.stores={tmp_path}/stores",
    ]


def make_codebook(folder: Path, words: list[str]) -> checkpoint.Card:
    cfg = compose("train_codebook", [*words, "features=pixels", "model.width=32", "model.layers=1"])
    config = cfg.model.plain()
    model = build(config)
    for book in (model.environment_book, model.ego_book):
        book.train()(torch.randn(200, 4, config["code_width"]))  # gives an untrained book its entries
    return checkpoint.save(folder, model, config=config, card=Card(kind=config["_target_"]))


def test_from_a_codebooks_labels_to_a_students_without_network(tmp_path, words, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    book = make_codebook(tmp_path / "codebook", words)
    short = [
        "training.schedule.steps=3",
        "training.schedule.warmup=1",
        "batches.batch_size=4",
        "batches.held_out_windows=8",
    ]

    codes = label.run(compose("label", [*words, f"model={tmp_path}/codebook", f"out={tmp_path}/1"]))
    metrics = train.run(compose("train_teacher", [*words, f"latents={codes}", *short, f"out={tmp_path}/2"]))
    assert {"held_out/nats", "held_out/nats_first", "held_out/one_pass_nats", "held_out/agreement"} <= metrics.keys()
    assert {
        "held_out/mass_outside",
        "held_out/baseline_marginal_nats",
        "held_out/baseline_repeat_nats",
    } <= metrics.keys()
    assert {headline.metric for headline in TeacherTraining.headlines} <= metrics.keys()
    for inputs in ("black", "code_only"):  # every key of the controls is read, too
        words_of = [f"latents={codes}", f"inputs={inputs}", "dry_run=true", f"out={tmp_path}/{inputs}"]
        train.run(compose("train_teacher", [*words, *words_of]))

    expected = label.run(compose("label", [*words, f"model={tmp_path}/2/checkpoint", f"out={tmp_path}/3"]))
    metrics = train.run(compose("distill", [*words, f"latents={expected}", *short, f"out={tmp_path}/4"]))
    assert {"held_out/kl", "held_out/top1", "held_out/kl_slot_11"} <= metrics.keys()
    assert {headline.metric for headline in StudentTraining.headlines} <= metrics.keys()

    last = label.run(compose("label", [*words, f"model={tmp_path}/4/checkpoint", f"out={tmp_path}/5"]))
    origins = [LatentStore(root / "train").info.origin for root in (codes, expected, last)]
    assert origins == [Origin.INVERSE_DYNAMICS, Origin.TEACHER, Origin.STUDENT]
    stores = [LatentStore(root / "val") for root in (codes, expected, last)]
    assert {store.info.codebook_id for store in stores} == {book.fingerprint}
    assert all(store.info.transition_s == 0.5 for store in stores)
    # The same times are labelled by all three, where the codebook has a future.
    assert set(zip(stores[0].keys, stores[0].t0_s)) <= set(zip(stores[1].keys, stores[1].t0_s))
    teacher = checkpoint.read_card(tmp_path / "2" / "checkpoint")
    assert teacher.parents == {
        "codebook": book.fingerprint,
        "labels": LatentStore(codes / "train").fingerprint,
        "labeller": book.fingerprint,
    }

    with pytest.raises(LatentDriveError, match="holds codes of origin teacher, this run learns from inverse_dynamics"):
        train.run(compose("train_teacher", [*words, f"latents={expected}", *short, f"out={tmp_path}/6"]))
    other = ["model.transitions=12", "model.codes_per_transition=1", *short]  # as many slots, of another meaning
    for verb, latents in (("train_teacher", codes), ("distill", expected)):
        with pytest.raises(StoreError, match=r"has transitions=3, the model 12: set model\.transitions=3"):
            train.run(compose(verb, [*words, f"latents={latents}", *other, f"out={tmp_path}/{verb}"]))


def test_labels_of_exchanged_videos_are_refused_with_their_names(tmp_path, words):
    make_codebook(tmp_path / "codebook", words)
    codes = label.run(compose("label", [*words, f"model={tmp_path}/codebook", f"out={tmp_path}/1"]))
    videos = sorted((tmp_path / "clips").iterdir())
    videos[0].rename(tmp_path / "aside")
    videos[2].rename(videos[0])
    (tmp_path / "aside").rename(videos[2])
    short = [f"latents={codes}", "training.schedule.steps=3", "training.schedule.warmup=1", "batches.batch_size=4"]
    with pytest.raises(StoreError, match=r"2 of 3 clips are not those that were labelled: 0.mp4 \(0.mp4\), 2.mp4"):
        train.run(compose("train_teacher", [*words, *short, f"out={tmp_path}/2"]))


def test_of_two_labellers_of_a_store_the_second_is_refused_and_the_store_is_finished_once(tmp_path, words):
    make_codebook(tmp_path / "codebook", words)
    own = [f"model={tmp_path}/codebook", f"store={tmp_path}/store"]
    with one_writer(tmp_path / "store" / "val"), pytest.raises(InUse, match="store/val is being written by"):
        label.run(compose("label", [*words, *own, "parts=[train,val]", f"out={tmp_path}/1"]))
    assert LatentStore(tmp_path / "store" / "train").info.origin is Origin.INVERSE_DYNAMICS
    label.run(compose("label", [*words, *own, f"out={tmp_path}/2"]))
    index = (tmp_path / "store" / "val" / "index.json").read_bytes()
    with one_writer(tmp_path / "store" / "val"):  # what is finished needs no writer
        label.run(compose("label", [*words, *own, f"out={tmp_path}/3"]))
    assert (tmp_path / "store" / "val" / "index.json").read_bytes() == index
    LatentStore(tmp_path / "store" / "val")


def test_a_dry_run_labels_nothing(words, tmp_path):
    make_codebook(tmp_path / "codebook", words)
    root = label.run(compose("label", [*words, f"model={tmp_path}/codebook", "dry_run=true", f"out={tmp_path}/1"]))
    assert not root.exists()
