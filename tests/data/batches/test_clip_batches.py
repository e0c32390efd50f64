"""Batches that a codebook learns from: windows, cached features, ranks, and facts for the card."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from latentdrive.backbones import CachedMaps, TimmFeatures
from latentdrive.data.batches.augmentation import NO_AUGMENTATION, Augmentation
from latentdrive.data.batches.clip_batches import ClipBatches
from latentdrive.data.clips.clip_source import ClipOptions, Part
from latentdrive.data.clips.data_set import DataSet
from latentdrive.data.clips.video import VideoFolder
from latentdrive.errors import ConfigError, NoClips
from tests.support.data import OPTIONS

READING = {name: value for name, value in OPTIONS.items() if name not in ("rate_hz", "height", "width")}

torch.set_num_threads(1)


@pytest.fixture
def batches(drive: Callable[..., Path], tmp_path: Path) -> Callable[..., ClipBatches]:
    """Batches of three clips; keywords change data (`cache`) or the batches."""
    for seed in range(3):
        drive(f"clip{seed}", seed=seed)

    def make(*, cache: str = "frames", cache_gb: float = 1.0, **changed) -> ClipBatches:
        data = DataSet(
            path=str(tmp_path / "clips"),
            rate_hz=OPTIONS["rate_hz"],
            height=OPTIONS["height"],
            width=OPTIONS["width"],
            cache=cache,
            cache_gb=cache_gb,
            cache_folder=str(tmp_path / "cache"),
            max_unreadable=0.5,
            block_s=None,
            train={"times": "train"},
            val={"times": "test"},
            probe=None,
            scenes=None,
            splits=None,
            options=partial(ClipOptions, **READING),
            part=partial(Part, path=str(tmp_path / "clips"), train_share=0.5, gap_s=0.1),
            source=partial(VideoFolder, truth=None),
        )
        options = {
            "data": data,
            "window_transitions": 1,
            "transition_s": 0.5,
            "batch_size": 4,
            "pairs_per_clip": 1,
            "held_out_windows": 6,
            "patch_grid": (6, 10),
            "augmentation": NO_AUGMENTATION,
            "workers": 0,
            "seed": 0,
            "out": str(tmp_path / "out"),
        }
        return ClipBatches(**options | changed)

    return make


def maps() -> CachedMaps:
    torch.manual_seed(0)
    return CachedMaps(TimmFeatures(backbone="efficientnet_lite0", stages=[2], stride=8, weights="none"))


def first(batches: ClipBatches, step: int = 0):
    return next(iter(batches.train_batches(step)))


def same(a, b) -> bool:
    return torch.equal(a.frames, b.frames) and torch.equal(a.clip, b.clip) and torch.equal(a.start, b.start)


def test_a_batch_depends_on_seed_and_step_alone(batches):
    assert same(first(batches(), 5), first(batches(), 5))
    loader = iter(batches().train_batches(3))
    next(loader)
    assert same(next(loader), first(batches(), 4))
    assert same(first(batches(workers=1), 2), first(batches(), 2))
    assert not same(first(batches(seed=1)), first(batches()))


def test_held_out_windows_are_fixed_come_from_the_other_part_and_mix_clips(batches):
    held = list(batches().validation_batches())
    assert [len(batch) for batch in held] == [4, 2]
    assert all(same(a, b) for a, b in zip(held, batches(seed=9).validation_batches()))
    assert len(torch.cat([batch.clip for batch in held]).unique()) > 1


def test_ranks_see_different_batches(batches, monkeypatch):
    seen_by_rank = []
    for rank in range(2):
        monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
        monkeypatch.setattr(torch.distributed, "get_rank", lambda rank=rank: rank)
        monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
        seen_by_rank.append(first(batches()))
    assert not same(*seen_by_rank)


def test_features_come_from_the_cache_beside_their_frames(batches, tmp_path: Path):
    extractor, fed, watched = maps(), batches(cache="features"), []

    def watch(clips: range, *, what: str) -> range:
        watched.append((what, len(clips)))
        return clips

    fed.watch = watch
    fed.use_features(extractor, extractor.fingerprint)
    fed.fill()
    assert watched == [("features of train", 3), ("features of val", 3)]
    stored = list((tmp_path / "cache").rglob(f"features-{extractor.fingerprint}.npy"))
    assert len(stored) == 3
    batch = first(fed)
    expected = extractor.features.maps(batch.frames.flatten(0, 1)).unflatten(0, (4, 2))
    torch.testing.assert_close(batch.features.float(), expected, atol=2e-3, rtol=2e-3)
    assert same(batch, first(batches()))  # the same windows as without
    held = next(iter(fed.validation_batches()))
    assert held.features.shape[:2] == held.frames.shape[:2]


def test_stored_features_are_not_computed_again(batches):
    extractor = maps()
    for turn in range(2):
        fed = batches(cache="features")
        fed.use_features(extractor if turn == 0 else _refuse, extractor.fingerprint)
        fed.fill()
    assert first(fed).features is not None


def _refuse(frames: np.ndarray) -> np.ndarray:
    raise AssertionError("computed again")


def test_features_beyond_the_cache_s_bound_are_computed_on_the_fly(batches, tmp_path: Path):
    extractor, fed = maps(), batches(cache="features", cache_gb=1e-6)
    fed.use_features(extractor, extractor.fingerprint)
    fed.fill()
    assert first(fed).features is not None
    assert not list((tmp_path / "cache").rglob("*.npy"))


def test_features_need_an_extractor_first(batches):
    with pytest.raises(ConfigError, match="use_features first"):
        first(batches(cache="features"))


def test_features_and_augmentation_exclude_each_other_with_what_to_type(batches):
    with pytest.raises(ConfigError, match=r"batches\.augmentation\.flip=false"):
        batches(cache="features", augmentation=Augmentation(flip=True, crop_share=1.0))


def test_others_who_open_the_same_data_share_its_frames(batches):
    clips = batches(cache="features").data.open("train")
    assert clips.features(0) is None and len(clips[0]) > 10


def test_the_card_counts_clips_and_where_poses_are_from(batches, drive):
    drive("without", seed=7, poses=False)
    facts = batches().facts
    assert facts["clips"] == 4 and facts["unreadable"] == 0
    assert facts["poses"] == {"poses: recorded; intrinsics: none given": 3, "poses: none; intrinsics: none given": 1}
    assert facts["counted"] == "4 of 4 clips" and facts["clips_without_poses"] == 1
    assert facts["frames_read"] == 4 * 120 and facts["cuts"] == 0
    assert facts["fingerprint"] == batches(seed=5).facts["fingerprint"]


def test_a_held_out_part_without_a_whole_window_says_what_to_change(batches):
    with pytest.raises(NoClips, match="use fewer or shorter transitions"):
        next(iter(batches(window_transitions=4).validation_batches()))


def test_an_error_in_a_worker_process_says_its_sentence_and_no_more(batches):
    with pytest.raises(NoClips) as failed:
        first(batches(window_transitions=4, workers=1))
    assert str(failed.value).startswith("none of the 3 clips can be used: 0 of 3") and "Traceback" not in str(
        failed.value
    )


def test_the_estimate_counts_features_and_shared_clips_once(batches):
    features = TimmFeatures(backbone="efficientnet_lite0", stages=[2], stride=8, weights="none")
    frames, both = (
        batches(cache=cache).estimate(SimpleNamespace(features=features)) for cache in ("frames", "features")
    )
    assert frames.startswith(
        "train: 3 clips, about 0.00 h; val: cut from the clips of train. The cache needs about 0.00 GB"
    )
    assert "for features" in both and "for features" not in frames


def test_the_estimate_counts_what_other_data_holds_of_the_cache_and_says_what_to_do(batches, tmp_path: Path):
    anew = "the rest is computed again at every use unless you raise data.cache_gb"
    assert batches(cache_gb=1e-3).estimate(None).endswith(f"; 0.00 GB of them fit (data.cache_gb=0.001), {anew}")
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache/ledger.txt").write_text("0a 5000000000\n")
    batches(cache_gb=6.0).fill()  # 1.4 MB
    assert batches(cache_gb=5.002).estimate(None).endswith(" (data.cache_gb=5.002)")
    text = batches(cache_gb=4.0).estimate(None)
    assert f"; 0.00 GB of them fit (data.cache_gb=4, other data takes 5.00 GB of it), {anew} or remove " in text


def test_the_end_of_a_run_says_what_was_left_out(batches, drive):
    drive("short", seconds=0.7)
    fed = batches(held_out_windows=1000)
    for _, _ in zip(range(4), fed.train_batches(0)):
        pass
    list(fed.validation_batches())
    train, val = fed.summary().splitlines()
    assert train.startswith("train: 0 of 4 clips unreadable (0.00%, limit 50.00%); 1 too short for a window: ")
    assert val.startswith("val: 0 of 4 clips unreadable") and "1 too short" in val
    assert fed.facts["too_short"] == 1 and fed.facts["unreadable"] == 0
