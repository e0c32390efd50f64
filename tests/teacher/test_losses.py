"""The teacher's numbers, worked by hand."""

import math

import pytest
import torch

from latentdrive.teacher.losses import agreement, both_ways, judge, slot_nats


def test_equal_logits_cost_the_logarithm_of_the_number_of_codes():
    nats = slot_nats(torch.zeros(2, 12, 16), torch.zeros(2, 12, dtype=torch.long))
    torch.testing.assert_close(nats, torch.full((2, 12), math.log(16)))


def test_both_ways_is_the_weighted_sum_of_two_means():
    # Two codes: logits 0 and log 3 make probabilities 1/4 and 3/4.
    logits = torch.tensor([[[0.0, math.log(3)], [0.0, math.log(3)]]])
    codes = torch.tensor([[1, 0]])
    mean = -(math.log(3 / 4) + math.log(1 / 4)) / 2
    loss = both_ways(logits, torch.zeros(1, 2, 2), codes, autoregressive_weight=2.0, one_pass_weight=0.5)
    assert loss.item() == pytest.approx(2 * mean + 0.5 * math.log(2))


def test_judging_keeps_scenes_and_the_first_transition_apart():
    # Scene 0 is sure and right in both slots; scene 1 knows nothing in the first slot and is sure and wrong in the second.
    sure = 20.0
    logits = torch.tensor([[[sure, 0], [0, sure]], [[0, 0], [sure, 0]]])
    found = judge(logits, torch.zeros(2, 2, 2), torch.tensor([[0, 1], [0, 1]]), codes_per_transition=1)
    assert found["nats"].tolist() == pytest.approx([0, (math.log(2) + sure) / 2], abs=1e-5)
    assert found["nats_first"].tolist() == pytest.approx([0, math.log(2)], abs=1e-5)
    assert found["one_pass_nats"].tolist() == pytest.approx([math.log(2)] * 2)
    assert found["top1"].tolist() == [1.0, 0.5]


def test_agreement_is_the_share_of_equal_slots():
    assert agreement(
        torch.tensor([[1, 2, 3, 4], [1, 1, 1, 1]]), torch.tensor([[1, 2, 0, 0], [2, 2, 2, 2]])
    ).tolist() == [0.5, 0]
