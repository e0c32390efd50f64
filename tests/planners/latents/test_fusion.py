"""Fusion: an untrained one changes nothing, a trained one looks, and another teacher's widths are refused."""

from dataclasses import replace

import pytest
import torch

from latentdrive.errors import WrongShape
from latentdrive.planners.latents.fusion import LatentFusion, places
from latentdrive.types import LatentFeatures


def fusion() -> LatentFusion:
    torch.manual_seed(0)
    return LatentFusion(visual_width=12, action_width=10, width=16, tokens=3, heads=2)


def latents(scenes: int = 2, seed: int = 1) -> LatentFeatures:
    generator = torch.Generator().manual_seed(seed)
    return LatentFeatures(
        visual=torch.randn(scenes, 8, 12, generator=generator), action=torch.randn(scenes, 5, 10, generator=generator)
    )


def test_an_untrained_fusion_gives_the_queries_back_bit_for_bit():
    one, queries = fusion(), torch.randn(2, 7, 16)
    assert torch.equal(one(queries, one.read(latents())), queries)


def test_the_first_gradient_opens_the_gate_and_then_everything_learns():
    one, queries = fusion(), torch.randn(2, 7, 16)
    one(queries, one.read(latents())).square().sum().backward()
    learning = {name for name, weight in one.named_parameters() if weight.grad is not None and weight.grad.any()}
    assert learning == {"gate"}
    one.zero_grad()
    torch.nn.init.constant_(one.gate, 0.1)
    one(queries, one.read(latents())).square().sum().backward()
    still = {name for name, weight in one.named_parameters() if weight.grad is None or not weight.grad.any()}
    assert not still


def test_with_an_open_gate_what_the_predictor_saw_changes_the_queries():
    one, queries = fusion(), torch.randn(2, 7, 16)
    torch.nn.init.constant_(one.gate, 1.0)
    first, second = (one(queries, one.read(latents(seed=seed))) for seed in (1, 2))
    assert not torch.allclose(first, second)


def test_the_same_codes_in_other_places_say_something_else():
    """One-hot codes do not tell which of them comes first, and by how much it matters: see docs/results.md 8."""
    one, queries, given = fusion(), torch.randn(2, 7, 16), latents()
    torch.nn.init.constant_(one.gate, 1.0)
    turned = replace(given, action=given.action.flip(1))
    assert not torch.allclose(one(queries, one.read(given)), one(queries, one.read(turned)), atol=1e-3)


def test_places_differ_from_each_other_and_need_no_fixed_number():
    near = places(12, 16)
    assert near.shape == (12, 16) and torch.equal(near, places(300, 16)[:12]) and places(3, 7).shape == (3, 7)
    apart = torch.cdist(places(300, 16), places(300, 16)) + 9 * torch.eye(300)
    assert apart.min() > 0.1 and torch.equal(near[0], torch.tensor([0.0, 1.0]).repeat(8))


def test_scenes_of_a_batch_do_not_see_each_others_embeddings():
    one, queries, both = fusion(), torch.randn(2, 7, 16), latents()
    torch.nn.init.constant_(one.gate, 1.0)
    whole = one(queries, one.read(both))
    alone = one(queries[:1], one.read(both._map(lambda tensor: tensor[:1])))
    assert torch.allclose(whole[:1], alone, atol=1e-6)


def test_embeddings_of_another_teacher_are_refused_with_both_widths():
    with pytest.raises(WrongShape, match=r"visual embeddings are 13 wide, this planner's fusion takes 12"):
        fusion().read(LatentFeatures(visual=torch.zeros(1, 8, 13), action=torch.zeros(1, 5, 10)))


def test_half_precision_embeddings_of_a_store_are_taken_as_they_are():
    one, half = fusion(), latents()._map(lambda tensor: tensor.half())
    assert one.read(half).dtype == torch.float32
