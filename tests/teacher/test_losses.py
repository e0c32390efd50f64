"""The teacher's numbers, worked by hand."""

import math

import pytest
import torch

from latentdrive.teacher.losses import TeacherLoss, agreement, judge, slot_nats


def test_equal_logits_cost_the_logarithm_of_the_number_of_codes():
    nats = slot_nats(torch.zeros(2, 12, 16), torch.zeros(2, 12, dtype=torch.long))
    torch.testing.assert_close(nats, torch.full((2, 12), math.log(16)))


def test_the_loss_is_the_weighted_mean_of_each_way():
    # Logits 0 and log 3 give the two codes the probabilities 1/4 and 3/4.
    logits = torch.tensor([[[0.0, math.log(3)], [0.0, math.log(3)]]])
    codes = torch.tensor([[1, 0]])
    mean = -(math.log(3 / 4) + math.log(1 / 4)) / 2
    parts = TeacherLoss(autoregressive=2.0, one_pass=0.5)(logits, torch.zeros(1, 2, 2), codes)
    assert parts["autoregressive"].item() == pytest.approx(2 * mean)
    assert parts["one_pass"].item() == pytest.approx(0.5 * math.log(2)) and len(parts) == 2


def test_judging_keeps_scenes_and_the_first_transition_apart():
    # Scene 0 is sure and right in both slots. Scene 1 knows nothing in the first slot; in the second it
    # is sure and wrong.
    sure = 20.0
    logits = torch.tensor([[[sure, 0], [0, sure]], [[0, 0], [sure, 0]]])
    numbers = judge(logits, torch.zeros(2, 2, 2), torch.tensor([[0, 1], [0, 1]]), codes_per_transition=1)
    assert numbers["nats"].tolist() == pytest.approx([0, (math.log(2) + sure) / 2], abs=1e-5)
    assert numbers["nats_first"].tolist() == pytest.approx([0, math.log(2)], abs=1e-5)
    assert numbers["one_pass_nats"].tolist() == pytest.approx([math.log(2)] * 2)
    assert numbers["top1"].tolist() == [1.0, 0.5]


def test_agreement_is_the_share_of_equal_slots():
    assert agreement(
        torch.tensor([[1, 2, 3, 4], [1, 1, 1, 1]]), torch.tensor([[1, 2, 0, 0], [2, 2, 2, 2]])
    ).tolist() == [0.5, 0]
