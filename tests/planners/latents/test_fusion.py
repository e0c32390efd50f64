"""Fusion: an untrained one changes nothing, an opened gate lets embeddings through, and other widths are refused."""

from dataclasses import replace

import pytest
import torch

from latentdrive.errors import WrongShape
from latentdrive.planners.latents.fusion import LatentFusion, positions
from latentdrive.types import LatentFeatures

QUERIES = torch.randn(2, 7, 16, generator=torch.Generator().manual_seed(3))


def small_fusion(gate: float = 0.0) -> LatentFusion:
    torch.manual_seed(0)
    fusion = LatentFusion(visual_width=12, action_width=10, width=16, tokens=3, heads=2)
    torch.nn.init.constant_(fusion.gate, gate)
    return fusion


def latents(scenes: int = 2, seed: int = 1) -> LatentFeatures:
    generator = torch.Generator().manual_seed(seed)
    return LatentFeatures(
        visual=torch.randn(scenes, 8, 12, generator=generator), action=torch.randn(scenes, 5, 10, generator=generator)
    )


def fused(fusion: LatentFusion, embeddings: LatentFeatures, queries: torch.Tensor = QUERIES) -> torch.Tensor:
    return fusion(queries, fusion.read(embeddings))


def test_an_untrained_fusion_returns_the_queries_bit_for_bit():
    assert torch.equal(fused(small_fusion(), latents()), QUERIES)


def test_the_first_gradient_reaches_the_gate_alone_and_later_ones_reach_everything():
    fusion = small_fusion()
    fused(fusion, latents()).square().sum().backward()
    learning = {name for name, weight in fusion.named_parameters() if weight.grad is not None and weight.grad.any()}
    assert learning == {"gate"}
    fusion.zero_grad()
    torch.nn.init.constant_(fusion.gate, 0.1)
    fused(fusion, latents()).square().sum().backward()
    assert not {name for name, weight in fusion.named_parameters() if weight.grad is None or not weight.grad.any()}


def test_with_an_open_gate_the_embeddings_change_the_queries():
    fusion = small_fusion(gate=1.0)
    assert not torch.allclose(fused(fusion, latents(seed=1)), fused(fusion, latents(seed=2)))


def test_the_same_codes_in_another_order_change_the_queries():
    """One-hot codes alone do not tell their order; docs/results.md, section 8, shows what that costs."""
    fusion, embeddings = small_fusion(gate=1.0), latents()
    reversed_codes = replace(embeddings, action=embeddings.action.flip(1))
    assert not torch.allclose(fused(fusion, embeddings), fused(fusion, reversed_codes), atol=1e-3)


def test_position_encodings_differ_and_serve_any_number_of_tokens():
    few, many = positions(12, 16), positions(300, 16)
    assert few.shape == (12, 16) and torch.equal(few, many[:12]) and positions(3, 7).shape == (3, 7)
    assert (torch.cdist(many, many) + 9 * torch.eye(300)).min() > 0.1
    assert torch.equal(few[0], torch.tensor([0.0, 1.0]).repeat(8))


def test_scenes_of_a_batch_do_not_see_each_others_embeddings():
    fusion, both = small_fusion(gate=1.0), latents()
    first = replace(both, visual=both.visual[:1], action=both.action[:1])
    assert torch.allclose(fused(fusion, both)[:1], fused(fusion, first, QUERIES[:1]), atol=1e-6)


def test_embeddings_of_another_teacher_are_refused_with_both_widths():
    with pytest.raises(WrongShape, match=r"visual embeddings are 13 wide, this planner's fusion takes 12"):
        small_fusion().read(LatentFeatures(visual=torch.zeros(1, 8, 13), action=torch.zeros(1, 5, 10)))


def test_half_precision_embeddings_of_a_store_are_read_in_the_fusions_precision():
    half = LatentFeatures(visual=latents().visual.half(), action=latents().action.half())
    assert small_fusion().read(half).dtype == torch.float32


def test_weights_keep_their_order_because_resume_states_know_them_by_place():
    fusion = LatentFusion(visual_width=6, action_width=4, width=8, tokens=2, heads=2)
    own = [name for name, _ in fusion.named_parameters() if "." not in name or name.startswith(("norm", "attention"))]
    assert own == [
        "gate",
        "norm_latents.weight",
        "norm_latents.bias",
        "norm_queries.weight",
        "norm_queries.bias",
        "attention.in_proj_weight",
        "attention.in_proj_bias",
        "attention.out_proj.weight",
        "attention.out_proj.bias",
    ]
