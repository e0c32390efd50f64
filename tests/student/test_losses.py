"""The student's losses, worked by hand."""

import math

import pytest
import torch

from latentdrive.errors import StoreError, WrongShape
from latentdrive.student.losses import distillation, feature_error, hard_labels, judge, slot_divergence
from latentdrive.types import LatentFeatures


def test_equal_logits_diverge_by_nothing_and_shifted_ones_too():
    logits = torch.randn(3, 12, 16)
    assert slot_divergence(logits, logits + 7, temperature=1.0).abs().max() < 1e-6


def test_divergence_by_hand():
    # Teacher 3/4, 1/4 against student 1/2, 1/2: 3/4 ln(3/2) + 1/4 ln(1/2).
    teacher = torch.tensor([[[math.log(3.0), 0.0]]])
    expected = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert slot_divergence(torch.zeros(1, 1, 2), teacher, temperature=1.0).item() == pytest.approx(expected)


def test_the_teacher_stands_first():
    teacher, student = torch.tensor([[[4.0, 0.0]]]), torch.zeros(1, 1, 2)
    forward = slot_divergence(student, teacher, temperature=1.0)
    assert (forward - slot_divergence(teacher, student, temperature=1.0)).abs() > 0.1


def test_temperature_softens_and_its_square_keeps_gradients_alike():
    # At temperature 2 a teacher of ln 9 has odds 3, as above; the loss is 4 times that divergence.
    teacher = torch.tensor([[[math.log(9.0), 0.0]]])
    expected = 4 * (0.75 * math.log(1.5) + 0.25 * math.log(0.5))
    assert distillation(torch.zeros(1, 1, 2), teacher, temperature=2.0).item() == pytest.approx(expected)
    student = torch.full((1, 1, 2), 0.01, requires_grad=True)
    sizes = []
    for temperature in (1.0, 8.0):
        small = torch.tensor([[[0.02, 0.0]]])
        (gradient,) = torch.autograd.grad(distillation(student, small, temperature=temperature), student)
        sizes.append(gradient.norm().item())
    assert sizes[0] == pytest.approx(sizes[1], rel=0.02)


def test_hard_labels_are_cross_entropy():
    assert hard_labels(torch.zeros(2, 12, 16), torch.zeros(2, 12, dtype=torch.long)).item() == pytest.approx(
        math.log(16)
    )


def test_feature_error_is_a_share_of_the_teachers_size():
    def features(visual: float, action: float) -> LatentFeatures:
        return LatentFeatures(visual=torch.full((2, 3, 4), visual), action=torch.full((2, 12, 4), action))

    teacher = features(2.0, -10.0)
    assert feature_error(teacher, teacher).item() == 0
    assert feature_error(features(0.0, 0.0), teacher).item() == pytest.approx(1)
    # Half of 2 is missing: a quarter of its square; the action features are right.
    assert feature_error(features(1.0, -10.0), teacher).item() == pytest.approx(0.125)


def test_features_of_a_middle_layer_count_like_the_others():
    def features(size: float, middle: float | None) -> LatentFeatures:
        inner = None if middle is None else features(middle, None)
        return LatentFeatures(visual=torch.full((2, 3, 4), size), action=torch.full((2, 12, 4), size), middle=inner)

    teacher = features(2.0, 4.0)
    # Half of the middle layer is missing: a quarter of its square, and it is half of all features.
    assert feature_error(features(2.0, 2.0), teacher).item() == pytest.approx(0.125)
    assert feature_error(features(2.0, None), teacher).item() == 0
    with pytest.raises(StoreError, match=r"the store holds none: label again with a teacher that has model.middle"):
        feature_error(features(2.0, 2.0), features(2.0, None))


def test_features_of_another_shape_say_what_to_set():
    ours = LatentFeatures(visual=torch.zeros(2, 8, 96), action=torch.zeros(2, 12, 96))
    theirs = LatentFeatures(visual=torch.zeros(2, 8, 2048), action=torch.zeros(2, 12, 2048))
    with pytest.raises(
        WrongShape, match=r"the student makes \[8, 96\], the store holds \[8, 2048\].*model.visual_width"
    ):
        feature_error(ours, theirs)


def test_judging_keeps_slots_apart():
    teacher = torch.tensor([[[5.0, 0.0], [0.0, 5.0]]])
    agreement = judge(torch.tensor([[[1.0, 0.0], [1.0, 0.0]]]), teacher)
    assert agreement["top1"].tolist() == [[1.0, 0.0]] and agreement["kl"][0, 1] > agreement["kl"][0, 0] > 0
