"""Scenes and stored codes stay together, and a batch depends on seed and step alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from latentdrive.data.batches.scene_batches import LabelledScenes, SceneBatches
from latentdrive.data.batches.scene_cutting import SceneSpec
from latentdrive.data.batches.streams import SceneStream
from latentdrive.data.latent_store import LatentWriter, Windows
from latentdrive.errors import MixedCodebooks, StoreError
from latentdrive.types import Origin
from tests.support.latent import MemoryClips, MemoryData, make_clip, make_info, make_latents

NOW = SceneSpec(history_frames=0, history_step_s=0.5, ego_frames=2, ego_hz=2.0)


def write_store(folder, clips: list[int], *, seed: int = 0, t0_s=(0.5, 1.0, 2.25), **info) -> None:
    info = make_info(**info)
    count = len(clips) * len(t0_s)
    writer = LatentWriter(folder, info)
    windows = Windows(
        keys=[f"clip{i}" for i in clips],
        drives=[f"drive{i // 2}" for i in clips],
        clip=np.repeat(np.arange(len(clips)), len(t0_s)),
        t0_s=np.tile(t0_s, len(clips)),
        latents=make_latents(count, seed=seed, codebook_id=info.codebook_id, origin=info.origin),
        known=np.ones((count, 1), bool),
        contents={f"clip{i}": [] for i in clips},
    )
    writer.add(windows, next_clip=len(clips), unreadable=[])
    writer.finish()


def make_batches(folder, *, spec: SceneSpec = NOW, origin: str = "teacher", seed: int = 0) -> SceneBatches:
    data = MemoryData(train=MemoryClips([make_clip(i) for i in range(6)]), val=MemoryClips([make_clip(9)]))
    return SceneBatches(
        data=data, latents=str(folder), origin=origin, spec=spec, batch_size=4, held_out_windows=2, workers=0, seed=seed
    )


@pytest.fixture
def stores(tmp_path):
    write_store(tmp_path / "train", list(range(6)))
    write_store(tmp_path / "val", [9], seed=1)
    return tmp_path


def test_a_scene_shows_the_frame_at_t0_of_the_window_whose_codes_it_comes_with(stores):
    train = make_batches(stores).train
    scenes, latents = train.batch([4, 17])
    # Window 4 is clip 1 at 1.0 s, row 4; window 17 is clip 5 at 2.25 s, row 9.
    assert scenes.images[:, 0, 0, 0, 0].tolist() == [1, 5] and scenes.images[:, 0, 1, 0, 0].tolist() == [4, 9]
    assert torch.equal(latents.codes, make_latents(18).codes[[4, 17]])
    assert scenes.velocity[:, 0].tolist() == pytest.approx([10, 10]) and scenes.velocity_known.all()


def test_a_batch_is_a_function_of_seed_and_step(stores):
    def codes(seed: int, start: int, count: int) -> list[torch.Tensor]:
        batches = iter(make_batches(stores, seed=seed).train_batches(start))
        return [next(batches)[1].codes for _ in range(count)]

    whole = codes(0, 0, 8)
    resumed = codes(0, 5, 3)
    assert all(torch.equal(a, b) for a, b in zip(whole[5:], resumed))
    assert not all(torch.equal(a, b) for a, b in zip(whole, codes(1, 0, 8)))


def test_every_window_comes_once_an_epoch(stores):
    batches = iter(make_batches(stores).train_batches(0))
    seen = torch.cat([next(batches)[1].codes for _ in range(9)])  # 36 windows: two epochs of 18
    for epoch in (seen[:18], seen[18:]):
        assert sorted(map(tuple, epoch.tolist())) == sorted(map(tuple, make_latents(18).codes.tolist()))


def test_ranks_share_an_epoch_without_overlap(stores):
    scenes = make_batches(stores).train
    ranks = [SceneStream(scenes, batch_size=3, seed=0, start_step=0, rank=rank, ranks=2) for rank in range(2)]
    shares = [{tuple(row) for step in range(3) for row in each.batch(step)[1].codes.tolist()} for each in ranks]
    assert [len(share) for share in shares] == [9, 9] and not shares[0] & shares[1]


def test_the_ranks_of_a_parallel_run_are_asked_for(stores, monkeypatch):
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 1)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    first = next(iter(make_batches(stores).train_batches(0)))[1].codes
    alone = SceneStream(make_batches(stores).train, batch_size=4, seed=0, start_step=0)
    assert torch.equal(first, alone.batch(1)[1].codes)


def test_the_estimate_covers_both_parts(stores):
    assert make_batches(stores).estimate(None) == "6 clips of train and 1 clip of val"


def test_validation_looks_at_the_same_windows_every_time(stores):
    batches = make_batches(stores)
    first, second = ([latents.codes for _, latents in batches.validation_batches()] for _ in range(2))
    assert len(first) == 1 and len(first[0]) == 2 and torch.equal(first[0], second[0])
    assert batches.parents == {"codebook": "book-a", "labels": batches.stores["train"].fingerprint, "labeller": "maker"}
    assert batches.facts["windows"] == 18 and batches.facts["transition_s"] == 0.5


def test_windows_without_the_past_a_scene_needs_are_left_out_and_counted(stores):
    spec = replace(NOW, history_frames=2)  # 1 s back: the windows at 0.5 s have no such past
    batches = make_batches(stores, spec=spec)
    assert len(batches.train) == 12 and batches.train.skipped == 6
    scenes, _ = batches.train.batch([0])
    assert scenes.images[0, :, 1, 0, 0].tolist() == [0, 2, 4]


def test_labels_of_another_origin_are_refused(stores):
    with pytest.raises(StoreError, match=r"holds codes of origin teacher, this run learns from inverse_dynamics"):
        make_batches(stores, origin="inverse_dynamics")


def test_parts_labelled_with_two_codebooks_are_refused_with_both_ids(tmp_path):
    write_store(tmp_path / "train", [0])
    write_store(tmp_path / "val", [9], codebook_id="book-b")
    with pytest.raises(MixedCodebooks, match=r"book-a.*book-b"):
        make_batches(tmp_path)


def test_a_store_of_other_clips_is_refused_by_name(tmp_path):
    write_store(tmp_path / "s", [0, 7])
    clips = MemoryClips([make_clip(0)])
    from latentdrive.data.latent_store import LatentStore

    with pytest.raises(StoreError, match=r"labels clip7 \(1 clip in all\), which this data does not hold"):
        LabelledScenes(clips=clips, store=LatentStore(tmp_path / "s"), spec=NOW)


def test_a_time_that_the_clip_no_longer_has_is_an_error(tmp_path):
    write_store(tmp_path / "train", [0], t0_s=(0.6,))
    write_store(tmp_path / "val", [9])
    with pytest.raises(StoreError, match=r"clip0 has no frame at 0.600 s"):
        make_batches(tmp_path).train.batch([0])


def test_codes_of_the_future_are_marked_as_such(tmp_path):
    write_store(tmp_path / "train", [0], origin=Origin.INVERSE_DYNAMICS)
    write_store(tmp_path / "val", [9], origin=Origin.INVERSE_DYNAMICS)
    _, latents = make_batches(tmp_path, origin="inverse_dynamics").train.batch([0])
    assert latents.origin is Origin.INVERSE_DYNAMICS
