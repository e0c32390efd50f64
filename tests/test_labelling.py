"""Labelling: who sees what, which windows there are, and what an interruption costs."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from latentdrive.checkpoint import Card
from latentdrive.data.batches.scene_cutting import SceneSpec
from latentdrive.data.batches.windows import open_clip
from latentdrive.data.latent_store import LatentStore, LatentWriter
from latentdrive.data.unreadable import UnreadableLog
from latentdrive.errors import CheckpointError, ConfigError, StoreError, TooManyUnreadable, UnreadableClip
from latentdrive.labellers import FutureLabeller, Labeller, PresentLabeller, choose_labeller
from latentdrive.labelling import address, describe, label_part, stride_frames, strided_starts
from latentdrive.types import Command, DrivingClip, Origin, SceneBatch
from tests.support.latent import HEIGHT, RATE_HZ, WIDTH, MemoryClips, make_clip, make_latents, read_index


class Shared(torch.nn.Module):
    transitions, codes_per_transition, codes, codebook_id, former_ids = 3, 4, 16, "book-a", {}


class Backbone:
    """Features are the picture's corner: clip and row. seen: how many frames it was given."""

    def __init__(self, *, trained: bool) -> None:
        self.trained, self.seen = trained, 0

    def maps(self, frames):
        self.seen += len(frames)
        return frames[:, :2, :1, :1].float()


class Book(Shared):
    """Codes say which frames were seen: the row of each window's first and last frame, and its clip."""

    transition_s = 0.5

    def __init__(self, *, trained: bool = False) -> None:
        super().__init__()
        self.features = Backbone(trained=trained)

    def encode(self, frames, motion, maps=None):
        assert (maps is None) == self.features.trained
        assert maps is None or torch.equal(maps, frames[:, :, :2, :1, :1].float())
        codes = torch.zeros(len(frames), 12, dtype=torch.long)
        codes[:, 0], codes[:, 1] = frames[:, 0, 1, 0, 0].long() % 16, frames[:, -1, 1, 0, 0].long() % 16
        codes[:, 2], codes[:, 3] = frames[:, 0, 0, 0, 0].long() % 16, 0 if motion is None else 1
        return replace(make_latents(len(frames), origin=Origin.INVERSE_DYNAMICS), codes=codes)


class Seer(Shared):
    """A predictor that remembers what it was given."""

    origin = Origin.TEACHER
    scene = SceneSpec(history_frames=1, history_step_s=0.5, ego_frames=2, ego_hz=2.0)

    def __init__(self) -> None:
        super().__init__()
        self.given: list[SceneBatch] = []

    def predict(self, batch):
        self.given.append(batch)
        return make_latents(len(batch), seed=len(self.given))


def run(labeller, clips, folder, *, batch_size=4, shard_windows=6, max_unreadable=0.5, stride=2):
    log = UnreadableLog(clips=len(clips), max_unreadable=max_unreadable, file=None)
    writer = LatentWriter(folder, describe(labeller, clips, maker="m", stride_s=stride / RATE_HZ))
    return label_part(
        labeller, clips, writer, log, batch_size=batch_size, shard_windows=shard_windows, stride=stride, watch=iter
    )


def labeller_of(model, **facts) -> Labeller:
    """The labeller of a model whose card tells that it saw clips like those of this file, without commands."""
    shown = {"height": HEIGHT, "width": WIDTH, "fit": "crop", "commands": False, "transition_s": 0.5} | facts
    data = SimpleNamespace(rate_hz=RATE_HZ, height=HEIGHT, width=WIDTH, fit="crop")
    return choose_labeller(model, card=Card(kind="model", data=shown), folder="runs/model", data=data, device="cpu")


def book() -> FutureLabeller:
    return labeller_of(Book())


def seer(**facts) -> PresentLabeller:
    """facts: what else the card of the predictor says."""
    return labeller_of(Seer(), **facts)


def test_a_codebook_is_given_t0_to_t0_plus_three_transitions(tmp_path):
    assert run(book(), MemoryClips([make_clip(i) for i in range(3)]), tmp_path)["windows"] == 15
    store = LatentStore(tmp_path)
    # 16 frames at 4 Hz, windows span 6 frames: starts 0, 2, ... 8.
    assert store.t0_s[:5].tolist() == [0.0, 0.5, 1.0, 1.5, 2.0]
    assert store.codes()[5:10, :4].tolist() == [[row, row + 6, 1, 1] for row in (0, 2, 4, 6, 8)]
    assert store.info.origin is Origin.INVERSE_DYNAMICS and store.info.known == ("motion",) and store.known.all()


def test_a_frozen_backbone_sees_a_frame_once_a_batch(tmp_path):
    clips = MemoryClips([make_clip(i) for i in range(3)])
    labeller = book()
    run(labeller, clips, tmp_path / "frozen", batch_size=15)
    assert labeller.model.features.seen == 3 * 8  # of 16 frames every other one is looked at; by 15 windows of 4
    trained = labeller_of(Book(trained=True))
    run(trained, clips, tmp_path / "trained", batch_size=15)
    assert trained.model.features.seen == 0
    assert np.array_equal(LatentStore(tmp_path / "frozen").codes(), LatentStore(tmp_path / "trained").codes())


def test_clips_without_poses_are_labelled_without_motion(tmp_path):
    clip = replace(make_clip(0), ego_poses=None)
    run(book(), MemoryClips([clip]), tmp_path)
    store = LatentStore(tmp_path)
    assert not store.known.any() and (store.codes()[:, 3] == 0).all()


def test_nothing_after_t0_reaches_a_predictor(tmp_path):
    """Frames, poses and speed after t0 are replaced by noise; what `predict` is given stays bit-identical."""
    rng, now = np.random.default_rng(0), 6
    clip = make_clip(0)
    frames, poses, speed = clip.frames.copy(), clip.ego_poses.copy(), clip.ego_speed_mps.copy()
    frames[now + 1 :] = rng.integers(0, 256, frames[now + 1 :].shape)
    poses[now + 1 :], speed[now + 1 :] = rng.normal(size=poses[now + 1 :].shape), -3
    noisy = replace(clip, frames=frames, ego_poses=poses, ego_speed_mps=speed)
    given = []
    for recording in (clip, noisy):
        labeller = seer()
        clips = MemoryClips([recording])
        labeller.label(clips, [(0, now)], {0: open_clip(clips, 0)})
        given.append(labeller.model.given[0])
    for field in SceneBatch.__dataclass_fields__:
        assert torch.equal(getattr(given[0], field), getattr(given[1], field)), field


def test_predictors_label_the_times_a_codebook_labels_where_they_have_the_past(tmp_path):
    clips = MemoryClips([make_clip(0, shots=[0] * 5 + [1] * 11)])
    run(book(), clips, tmp_path / "book")
    run(seer(), clips, tmp_path / "seer")
    # The second shot begins at row 5; windows are counted from there. The seer needs two rows of past.
    assert (LatentStore(tmp_path / "book").t0_s * RATE_HZ).tolist() == [5, 7, 9]
    assert (LatentStore(tmp_path / "seer").t0_s * RATE_HZ).tolist() == [2, 4, 7, 9, 11, 13, 15]


def test_windows_are_counted_from_the_first_frame_of_their_shot():
    clip = make_clip(0, frames=9, shots=[0, 0, 0, 0, 4, 4, 4, 4, 4])
    assert strided_starts(clip, np.array([1, 2, 3, 5, 6, 8]), 2).tolist() == [2, 6, 8]


def test_an_interrupted_labelling_goes_on_after_its_last_shard(tmp_path):
    class Interrupted(MemoryClips):
        def __getitem__(self, index):
            if index == 4:
                raise KeyboardInterrupt
            return super().__getitem__(index)

    made = [make_clip(i) for i in range(6)]
    with pytest.raises(KeyboardInterrupt):
        run(book(), Interrupted(made, bad=(1,)), tmp_path / "a")
    assert read_index(tmp_path / "a")["next_clip"] == 3  # clips 0 to 2 fill the first shard
    clips = MemoryClips(made, bad=(1,))
    numbers = run(book(), clips, tmp_path / "a")
    assert min(clips.opened) == 3, "finished clips are opened again"
    whole = run(book(), MemoryClips(made, bad=(1,)), tmp_path / "b")
    assert numbers == whole == {"windows": 25, "clips": 6, "unreadable": 1, "too_short": 0}
    assert read_index(tmp_path / "a") == read_index(tmp_path / "b")
    assert LatentStore(tmp_path / "a").unreadable == [("clips/clip1", "it is cut short")]


def test_a_finished_store_is_not_labelled_again(tmp_path):
    clips = MemoryClips([make_clip(0)])
    run(book(), clips, tmp_path)
    clips.opened.clear()
    assert run(book(), clips, tmp_path)["windows"] == 5 and clips.opened == []


def test_too_many_unreadable_clips_end_the_run_even_across_an_interruption(tmp_path):
    clips = MemoryClips([make_clip(i) for i in range(6)], bad=(1, 5))
    run_options = {"shard_windows": 5, "max_unreadable": 0.2}
    with pytest.raises(TooManyUnreadable, match=r"2 of 6"):
        run(book(), clips, tmp_path, **run_options)
    with pytest.raises(TooManyUnreadable, match=r"2 of 6"):
        run(book(), clips, tmp_path, **run_options)


def test_the_address_of_the_stores_changes_with_maker_data_and_stride():
    labeller, clips = book(), MemoryClips([make_clip(0)])
    base = {"maker": "m", "stride_s": 0.5}

    def of(clips=clips, **changes) -> str:
        return address({"train": describe(labeller, clips, **base | changes)})

    assert of() == of() and of().startswith("inverse_dynamics-")
    assert len({of(), of(maker="n"), of(stride_s=1.0), of(clips=MemoryClips([make_clip(1)]))}) == 4


def test_what_can_neither_encode_nor_predict_is_refused():
    with pytest.raises(CheckpointError, match=r"a Linear can't label: give a codebook, a teacher or a student"):
        labeller_of(torch.nn.Linear(1, 1))


def test_a_stride_between_two_frames_is_refused():
    assert stride_frames(0.5, 4.0) == 2
    with pytest.raises(ConfigError, match=r"0.3 is 1.2 frames at data.rate_hz=4"):
        stride_frames(0.3, 4.0)


def test_a_clip_that_fails_names_its_file(tmp_path):
    log = UnreadableLog(clips=2, max_unreadable=0.5, file=tmp_path / "unreadable.csv")
    clips = MemoryClips([make_clip(0), make_clip(1)], bad=(1,))
    writer = LatentWriter(tmp_path / "s", describe(book(), clips, maker="m", stride_s=0.5))
    label_part(book(), clips, writer, log, batch_size=4, shard_windows=99, stride=2, watch=iter)
    assert "clips/clip1,it is cut short" in (tmp_path / "unreadable.csv").read_text()
    with pytest.raises(UnreadableClip):
        clips[1]


def test_each_clip_is_read_once_and_a_bar_over_clips_shows_the_labelling(tmp_path):
    clips, made = MemoryClips([make_clip(i) for i in range(6)]), []
    labeller = book()
    real = labeller.label

    def label(source, windows, opened):
        made.extend(windows)
        return real(source, windows, opened)

    labeller.label, labelled = label, []

    def watch(indices):
        for index in indices:
            yield index
            labelled.append(len(made))

    log = UnreadableLog(clips=6, max_unreadable=0.5, file=None)
    writer = LatentWriter(tmp_path, describe(labeller, clips, maker="m", stride_s=0.5))
    label_part(labeller, clips, writer, log, batch_size=4, shard_windows=99, stride=2, watch=watch)
    assert clips.opened == list(range(6))
    # Five windows a clip, in batches of four: at most one batch waits, though the shard holds all thirty.
    assert labelled == [4, 8, 12, 20, 24, 30]


def test_a_clip_too_short_for_a_window_is_counted_but_is_not_unreadable(tmp_path):
    clips = MemoryClips([make_clip(0), make_clip(1, frames=5)])
    numbers = run(book(), clips, tmp_path, max_unreadable=0.0)
    assert numbers == {"windows": 5, "clips": 2, "unreadable": 0, "too_short": 1}
    assert LatentStore(tmp_path).unreadable == []


def with_commands(number: int) -> DrivingClip:
    """A clip whose driver is told to turn left."""
    return replace(make_clip(number), commands=np.full(16, int(Command.LEFT)))


@pytest.mark.parametrize("told", [True, False])
def test_a_predictor_is_told_the_command_only_if_it_was_trained_with_commands(tmp_path, told):
    labeller = seer(commands=told)
    run(labeller, MemoryClips([with_commands(0)]), tmp_path)
    given = labeller.model.given[0]
    expected = Command.LEFT if told else Command.UNKNOWN
    assert (given.command == int(expected)).all() and (given.command_known == told).all()
    assert (LatentStore(tmp_path).known[:, 2] == told).all()
    assert given.velocity_known.all()


def test_a_store_whose_model_was_told_what_it_was_not_trained_on_is_not_taken_for_finished(tmp_path):
    clips = MemoryClips([with_commands(0)])
    run(seer(commands=True), clips, tmp_path)  # as an earlier version labelled with every predictor
    with pytest.raises(StoreError, match="was told the command, which it was not trained on"):
        run(seer(commands=False), clips, tmp_path)


@pytest.mark.parametrize(
    ("facts", "error", "said"),
    [
        (
            {"height": 2 * HEIGHT},
            ConfigError,
            r"of 16 x 12 \(crop\), these clips have 8 x 12 \(crop\): set data.height=16",
        ),
        ({"fit": "stretch"}, ConfigError, r"data.options.fit=stretch"),
        ({"commands": "yes"}, CheckpointError, r"runs/model does not say what it was shown: its card has"),
        ({"width": 0}, CheckpointError, r"runs/model does not say what it was shown"),
    ],
    ids=str,
)
def test_pictures_unlike_those_of_its_training_are_refused_before_a_predictor_labels(facts, error, said):
    with pytest.raises(error, match=said):
        seer(**facts)


def test_a_finished_store_that_is_labelled_again_stays_as_it_is(tmp_path):
    clips = MemoryClips([make_clip(0)])
    run(book(), clips, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    run(book(), clips, tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before
    assert read_index(tmp_path)["complete"]
