"""Transplants: the motion reader learns from true pairs alone, and a code that is obeyed shows as a correlation."""

import numpy as np
import pytest
import torch

from latentdrive.codebook.judging.transplant import Transplant, train_reader, transplant
from tests.support.codebook import METRES_PER_PIXEL, make_batch, make_model, settle, wake

torch.set_num_threads(1)


def test_the_correlations_say_whether_a_transplant_follows_the_code_or_the_frame():
    generator = np.random.default_rng(0)
    a, b = generator.normal(size=(2, 200, 2))
    follows_code = Transplant(true=b, own=b, moved=a, motion_a=a, motion_b=b).summary()
    follows_frame = Transplant(true=b, own=b, moved=b, motion_a=a, motion_b=b).summary()
    for name in ("forward displacement", "yaw change"):
        assert follows_code[f"transplant/{name}/correlation_with_code"] == pytest.approx(1)
        assert abs(follows_code[f"transplant/{name}/correlation_with_frame"]) < 0.2
        assert follows_frame[f"transplant/{name}/correlation_with_frame"] == pytest.approx(1)
        assert follows_frame[f"transplant/{name}/reader_r2"] == pytest.approx(1)


def test_the_reader_learns_motion_from_pairs_and_leaves_the_codebook_alone():
    model = wake(settle(make_model()))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    reader = train_reader(model, (make_batch(clips=16, seed=seed) for seed in range(250)), steps=250, seed=0)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    batch = make_batch(clips=64, seed=999)
    seen = model.observe(batch.frames)
    with torch.no_grad():
        read = reader(seen.features[:, :-1].flatten(0, 1), seen.features[:, 1:].flatten(0, 1))[:, 0]
    true = batch.motion[..., 0].flatten()
    assert np.corrcoef(read, true)[0, 1] > 0.5
    assert (read - true).abs().mean() < 4 * METRES_PER_PIXEL


def test_every_window_gets_the_code_of_another_clip():
    model = wake(settle(make_model()))
    batches = [make_batch(clips=6, transitions=1, seed=seed) for seed in range(2)]
    reader = train_reader(model, batches, steps=2, seed=0)
    result = transplant(model, reader, batches)
    assert result.moved.shape == result.true.shape == (12, 2)
    assert np.sort(result.motion_a[:6, 0]).tolist() == np.sort(result.motion_b[:6, 0]).tolist()
    assert result.motion_a[:6, 0].tolist() == np.roll(result.motion_b[:6, 0], -1).tolist()
