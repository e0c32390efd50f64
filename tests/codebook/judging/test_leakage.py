"""The leakage matrix: the truth of the right frame, targets without outliers, and what it refuses."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from latentdrive.codebook.judging.evaluation import Codes
from latentdrive.codebook.judging.leakage import OTHERS, check_truth, measure, true_others
from latentdrive.codebook.judging.probe import EGO_TARGETS
from latentdrive.data.clips.frame_cache import CachedClips
from latentdrive.errors import ConfigError
from latentdrive.types import ClipTruth
from tests.support.codebook import make_batch, make_model, settle, wake

torch.set_num_threads(1)
RATE_HZ, FRAMES = 4.0, 8


class Clips(CachedClips):
    """Clips of 8 frames in which one agent fills the left third and moves by (clip + frame) % of the width.

    Each drive has two clips. Nothing is read from a disk.
    """

    rate_hz = RATE_HZ

    def __init__(self) -> None:
        pass

    def __getitem__(self, index: int):
        return SimpleNamespace(times_s=np.arange(FRAMES) / RATE_HZ)

    def drive(self, index: int) -> str:
        return f"drive {index // 2}"

    def truth(self, index: int) -> ClipTruth:
        motion = np.zeros((FRAMES, 1, 2), np.float32)
        motion[:, 0, 0] = (index + np.arange(FRAMES)) / 100
        return ClipTruth(
            times_s=np.arange(FRAMES) / RATE_HZ,
            agent_poses=np.zeros((FRAMES, 1, 3), np.float32),
            agent_sizes=np.ones((1, 3), np.float32),
            boxes=np.broadcast_to(np.array([0, 0, 1 / 3, 1], np.float32), (FRAMES, 1, 4)).copy(),
            image_motion=motion,
            transition_s=0.5,
            key=str(index),
        )


def test_others_are_read_at_the_frame_where_the_transition_begins():
    rows = {"clip": [0, 0, 3], "start": [0, 1, 2], "place": [0, 1, 0]}  # frames 0, 1 + 1 transition = 3, and 2
    codes = Codes(
        environment=np.zeros((3, 0), np.int64),
        ego=np.zeros((3, 1), np.int64),
        motion=np.zeros((3, 4)),
        **{name: np.array(values) for name, values in rows.items()},
    )
    others = true_others(Clips(), codes, transition_s=0.5)
    assert others[:, OTHERS.index("others left across")].tolist() == pytest.approx([0, 3, 5], abs=1e-4)
    assert not others[:, 1:].any()


def test_the_matrix_has_both_targets_for_every_input_and_kind_of_probe(monkeypatch):
    monkeypatch.setattr("latentdrive.codebook.judging.probe.MLP_STEPS", 50)
    model = wake(settle(make_model()))
    batches = []
    for seed in range(8):
        batch = make_batch(clips=8, transitions=1, seed=seed)
        batch.clip[:] = torch.arange(8) + 8 * (seed % 2)
        batch.start[:] = seed // 2
        batches.append(batch)
    leakage = measure(model, Clips(), batches, seed=0)
    # Both clips of a drive are on the same side of the division.
    drives = leakage.results["ego codes", "linear"].drives
    assert len(drives) == 32 and not (drives % 2).any() and len(np.unique(drives)) == 4
    matrix = leakage.matrix()
    for source in ("present frame", "ego codes", "environment codes", "present frame and ego codes"):
        for kind in ("linear", "mlp"):
            for target in (*EGO_TARGETS, *OTHERS, "others", "raw others", "ego"):
                assert f"{source}/{target}/{kind}" in matrix
            name = f"{source}/forward displacement/{kind}"
            assert matrix[f"{name}_low"] <= matrix[name] <= matrix[f"{name}_high"]


def test_truth_over_another_time_than_a_transition_is_refused():
    check_truth(Clips(), 0.5)
    with pytest.raises(ConfigError, match=r"truth is over 0\.5 s and this codebook's transition is 0\.25 s"):
        check_truth(Clips(), 0.25)
