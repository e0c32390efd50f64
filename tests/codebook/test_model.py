"""The codebook as a whole: who sees motion, who gets gradients, and what a label depends on."""

import pytest
import torch

from latentdrive.backbones import PixelFeatures, TimmFeatures
from latentdrive.codebook.losses import CodebookLoss
from latentdrive.codebook.model import Codebook
from latentdrive.errors import ConfigError, WrongShape
from latentdrive.types import Origin
from tests.support.codebook import make_batch, make_model, phase_loss, settle, wake

torch.set_num_threads(1)
LOSS = CodebookLoss(features=0.5, pixels=0.5, moving=0.0, regression=0.1, regression_share=1.0)
KINDS = pytest.mark.parametrize("kind", ["warp", "plain"])


def settled(**changed) -> Codebook:
    return settle(wake(make_model(**changed)))


def other_motion(motion: torch.Tensor) -> torch.Tensor:
    return motion + torch.tensor([3.0, 0.5, 0.2, 5.0])


# ---- motion reaches stage 1, and nothing else ----


@KINDS
def test_motion_reaches_the_decoder_of_stage_1(kind: str):
    model, batch = settled(forward_dynamics=kind), make_batch()
    seen = model.observe(batch.frames)
    vectors = model.encode_environment(seen, batch.motion).vectors  # the same codes ...
    first = model.predict_from_motion(seen, batch.motion, vectors)
    second = model.predict_from_motion(seen, other_motion(batch.motion), vectors)  # ... and another motion
    assert not torch.allclose(first.pixels, second.pixels) and not torch.allclose(first.features, second.features)


def test_motion_reaches_the_encoder_of_stage_1():
    model, batch = settled(), make_batch()
    seen = model.observe(batch.frames)
    first = model.encode_environment(seen, batch.motion).logits
    assert not torch.allclose(first, model.encode_environment(seen, other_motion(batch.motion)).logits)


def test_the_gradient_of_stage_1_reaches_motion_through_decoder_and_encoder_alike():
    model, batch = wake(make_model()), make_batch(clips=8)
    seen = model.observe(batch.frames)
    motion = batch.motion.clone().requires_grad_()
    code = model.encode_environment(seen, motion)
    decoded = model.predict_from_motion(seen, batch.motion, code.vectors)  # motion enters by the encoder only
    (through_encoder,) = torch.autograd.grad(decoded.pixels.square().sum(), motion)
    decoded = model.predict_from_motion(seen, motion, code.vectors.detach())  # and by the decoder only
    (through_decoder,) = torch.autograd.grad(decoded.pixels.square().sum(), motion)
    for gradient in (through_encoder, through_decoder):
        assert (gradient.abs().sum((0, 1)) > 0).all(), "dx, dy, dyaw and speed all count"


def test_the_environment_reader_and_the_ego_encoder_never_see_motion():
    model, batch = settled(), make_batch()
    first = model.encode(batch.frames, batch.motion)
    for motion in (other_motion(batch.motion), None):
        again = model.encode(batch.frames, motion)
        assert torch.equal(first.codes, again.codes) and torch.equal(first.environment, again.environment)


def test_the_second_stage_s_loss_does_not_depend_on_motion():
    batch = make_batch(clips=8)
    losses = []
    for motion in (batch.motion, other_motion(batch.motion)):
        model = settled()
        moved = type(batch)(**{name: getattr(batch, name) for name in batch.__slots__} | {"motion": motion})
        losses.append(phase_loss(model, moved, "ego", LOSS)[0])
    assert torch.equal(*losses)


# ---- frozen stays frozen ----


def gradients(model: Codebook, phase: str) -> set[str]:
    """First words of the names of all weights that this phase's loss reaches."""
    batch = make_batch(clips=8)
    model.train()
    model.zero_grad()
    loss, _ = phase_loss(model, batch, phase, LOSS)
    loss.backward()
    return {
        name.split(".")[0] for name, weight in model.named_parameters() if weight.grad is not None and weight.grad.any()
    }


def test_each_phase_teaches_exactly_its_own_parts():
    model = wake(settle(make_model(regress_motion=True)))
    assert gradients(model, "motion") == {"features", "motion", "environment_forward"}
    assert gradients(model, "environment") == {"features", "motion", "environment_inverse", "environment_forward"}
    assert gradients(model, "reader") == {"reader"}
    assert gradients(model, "ego") == {"ego_inverse", "ego_forward", "motion_head"}


@pytest.mark.parametrize("source", ["reader", "encoder", "relearned"])
@pytest.mark.parametrize("phase", ["reader", "ego"])
def test_after_stage_1_neither_book_nor_encoder_nor_their_statistics_move(source: str, phase: str):
    model = wake(settle(make_model(environment_source=source)))
    frozen = ("features", "motion", "environment_inverse", "environment_book", "environment_forward")
    before = {key: value.clone() for key, value in model.state_dict().items() if key.startswith(frozen)}
    model.train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.1, weight_decay=0.1)
    for seed in range(2):
        optimizer.zero_grad()
        phase_loss(model, make_batch(clips=8, seed=seed), phase, LOSS)[0].backward()
        optimizer.step()
    assert [key for key, value in before.items() if not torch.equal(value, model.state_dict()[key])] == []


@pytest.mark.parametrize("source", ["reader", "encoder"])
def test_stage_2_leaves_the_reader_alone(source: str):
    model = wake(settle(make_model(environment_source=source)))
    before = {key: value.clone() for key, value in model.reader.state_dict().items()}
    model.train()
    phase_loss(model, make_batch(clips=8), "ego", LOSS)[0].backward()
    assert all(torch.equal(value, model.reader.state_dict()[key]) for key, value in before.items())
    assert all(weight.grad is None for weight in model.reader.parameters())


def test_a_relearned_reader_learns_in_stage_2_through_the_frozen_book():
    model = wake(settle(make_model(environment_source="relearned")))
    assert gradients(model, "ego") == {"reader", "ego_inverse", "ego_forward"}


def test_one_stage_has_no_environment_and_trains_in_one_phase():
    model = settle(make_model(environment_slots=0, environment_sectors=False))
    assert gradients(wake(model), "ego") == {"features", "ego_inverse", "ego_forward"}
    latents = model.eval().encode(make_batch(transitions=3).frames, None)
    assert latents.environment is None and latents.codes.shape == (4, 3 * model.codes_per_transition)


# ---- labels ----


@pytest.mark.parametrize("source", ["reader", "encoder", "relearned"])
def test_labels_hold_codes_logits_and_features_transition_first(source: str):
    model, batch = settled(environment_source=source), make_batch(transitions=3)
    model.codebook_id = "0123"
    latents = model.encode(batch.frames, batch.motion)
    slots = model.transitions * model.codes_per_transition
    assert latents.codes.shape == (4, slots) and latents.environment.shape == (4, 3 * model.environment_slots)
    assert latents.logits.shape == (4, slots, model.codes)
    assert torch.equal(latents.logits.argmax(-1), latents.codes)
    assert latents.features.action.shape == (4, slots, model.code_width)
    assert latents.codebook_id == "0123" and latents.origin is Origin.INVERSE_DYNAMICS
    first = model.encode(batch.frames[:, :2], batch.motion[:, :1])
    assert torch.equal(first.codes, latents.codes[:, : model.codes_per_transition])


@pytest.mark.parametrize("source", ["reader", "encoder", "relearned"])
def test_a_label_depends_on_its_own_frames_alone(source: str):
    model, batch = settled(environment_source=source), make_batch(transitions=3)
    together = model.encode(batch.frames, batch.motion)
    torch.manual_seed(123)  # draws no random numbers
    for row in range(4):
        alone = model.encode(batch.frames[row : row + 1], batch.motion[row : row + 1])
        assert torch.equal(alone.codes, together.codes[row : row + 1])
        torch.testing.assert_close(alone.logits, together.logits[row : row + 1], atol=1e-4, rtol=1e-4)


def test_labels_from_the_encoder_need_motion():
    with pytest.raises(ConfigError, match="use reader for clips without"):
        settled(environment_source="encoder").encode(make_batch().frames, None)


# ---- shapes ----


@KINDS
def test_an_untrained_codebook_predicts_a_copy_where_no_environment_code_displaces(kind: str):
    model, batch = settle(make_model(forward_dynamics=kind)), make_batch()
    seen = model.observe(batch.frames)
    environment = model.read_environment(seen)
    ego = model.encode_ego(seen, environment.vectors)
    for prediction in (
        model.predict_from_motion(seen, batch.motion, None),
        model.predict_from_codes(seen, torch.zeros_like(environment.vectors), ego.vectors),
    ):
        torch.testing.assert_close(prediction.pixels, seen.pixels[:, :-1].flatten(0, 1), atol=1e-5, rtol=0)
        torch.testing.assert_close(prediction.features, seen.features[:, :-1].flatten(0, 1), atol=1e-5, rtol=0)


def test_frames_of_another_size_are_refused_with_both_sizes():
    model = settled()
    with pytest.raises(WrongShape, match="32 x 48 pixels, this codebook takes 32 x 64"):
        model.encode(make_batch().frames[..., :48], None)


@pytest.mark.parametrize("changed", [{"height": 36}, {"height": 40}])
def test_a_picture_that_does_not_fit_patches_or_pools_is_refused(changed: dict):
    with pytest.raises(ConfigError, match="multiples of"):
        make_model(**changed)


def test_features_from_a_cache_replace_the_backbone():
    torch.manual_seed(0)
    features = TimmFeatures(backbone="efficientnet_lite0", stages=[2], stride=8, weights="none")
    model, batch = make_model(features=features), make_batch(clips=2)
    features.calibrate([batch.frames.flatten(0, 1)])
    maps = features.maps(batch.frames.flatten(0, 1)).unflatten(0, batch.frames.shape[:2])
    torch.testing.assert_close(model.observe(batch.frames, maps).features, model.observe(batch.frames).features)


@pytest.mark.parametrize(
    "features",
    [
        lambda: PixelFeatures(channels=6, stride=14),
        lambda: TimmFeatures(backbone="vit_tiny_patch16_224", stages=[11], stride=16, weights="none"),
    ],
    ids=["patches of 14", "vit of 16"],
)
def test_codebooks_on_larger_patches_run_through_all_phases(features):
    torch.manual_seed(0)
    backbone = features()
    model = make_model(features=backbone, height=4 * backbone.stride, width_px=4 * backbone.stride)
    batch = make_batch(clips=8)
    frames = batch.frames.repeat(1, 1, 1, 2, 1)[..., : model.height, : model.width_px]
    batch = type(batch)(**{name: getattr(batch, name) for name in batch.__slots__} | {"frames": frames})
    for phase in ("motion", "environment", "reader", "ego"):
        loss, _ = phase_loss(model, batch, phase, LOSS)
        assert loss.isfinite()
