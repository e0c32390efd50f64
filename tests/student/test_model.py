"""The student sees its scene, never a later slot, and has the size it promises."""

from dataclasses import replace

import pytest
import torch

from latentdrive.build import build
from latentdrive.config import compose
from latentdrive.errors import ConfigError
from latentdrive.student.model import ImageEncoder, Student, parameter_split
from latentdrive.types import LatentPredictor, Origin
from tests.support.scene_batch import make_scenes
from tests.support.student import NOW, make_latents, make_student


@pytest.fixture(scope="module")
def student() -> Student:
    return make_student()


def test_a_code_changes_later_slots_only(student):
    scenes, codes = make_scenes(4), make_latents(4).codes
    changed = codes.clone()
    changed[:, 5] = (changed[:, 5] + 1) % 16
    moved = (student(scenes, codes)[0] - student(scenes, changed)[0]).abs().amax((0, 2))
    assert (moved[:6] == 0).all() and (moved[6:] > 1e-5).all()


def test_decoding_slot_by_slot_equals_one_forward_on_the_same_prefixes(student):
    scenes = make_scenes(5)
    latents = student.predict(scenes)
    logits, features = student(scenes, latents.codes)
    torch.testing.assert_close(logits, latents.logits, atol=1e-5, rtol=0)
    torch.testing.assert_close(features.action, latents.features.action, atol=1e-5, rtol=0)
    assert torch.equal(latents.codes, latents.logits.argmax(-1)) and latents.origin is Origin.STUDENT
    assert latents.features.visual.shape == (5, 2, 6) and latents.features.action.shape == (5, 12, 5)


def test_a_student_with_a_middle_layer_predicts_its_features_and_is_the_same_otherwise(student):
    deep, scenes = make_student(middle_depth=0.5), make_scenes(4)
    assert student.predict(scenes).features.middle is None
    labels = deep.predict(scenes)
    _, features = deep(scenes, labels.codes)
    assert features.middle.visual.shape == (4, 2, 6) and features.middle.action.shape == (4, 12, 5)
    torch.testing.assert_close(features.middle.action, labels.features.middle.action, atol=1e-5, rtol=0)
    seen = []
    hook = deep.blocks[1].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    deep(scenes, labels.codes)
    hook.remove()
    states = deep.middle.action(deep.middle.norm(seen[1]))  # of the slots, which run after the scene
    torch.testing.assert_close(features.middle.action, states)
    weights = student.state_dict()
    assert deep.state_dict().keys() - weights.keys() == {
        f"middle.{part}.{kind}" for part in ("norm", "visual", "action") for kind in ("weight", "bias")
    }
    deep.load_state_dict(weights, strict=False)
    assert torch.equal(deep.predict(scenes).logits, student.predict(scenes).logits)


def test_a_result_does_not_depend_on_its_neighbours_even_in_training_mode():
    student = make_student().train()
    scenes, codes = make_scenes(6), make_latents(6).codes
    alone = student(scenes._map(lambda t: t[2:3]), codes[2:3])[0]
    torch.testing.assert_close(student(scenes, codes)[0][2:3], alone, atol=1e-5, rtol=0)


def test_it_looks_and_unknown_numbers_do_not_show(student):
    scenes, codes = make_scenes(8), make_latents(8).codes
    seen = student(scenes, codes)[0]
    assert (seen - student(replace(scenes, images=255 - scenes.images), codes)[0]).abs().max() > 1e-4
    hidden = replace(
        scenes,
        velocity=scenes.velocity.where(scenes.velocity_known[:, None], 99.0),
        acceleration=scenes.acceleration.where(scenes.acceleration_known[:, None], 99.0),
        command=scenes.command.where(scenes.command_known, 1),
    )
    assert torch.equal(seen, student(hidden, codes)[0])
    faster = replace(scenes, velocity=scenes.velocity + 5)
    moved = (student(faster, codes)[0] - seen).abs().amax((1, 2))
    assert ((moved > 1e-5) == scenes.velocity_known).all()


def test_the_black_student_does_not_look():
    blind = make_student(look="black")
    scenes, codes = make_scenes(2), make_latents(2).codes
    assert torch.equal(blind(scenes, codes)[0], blind(replace(scenes, images=255 - scenes.images), codes)[0])


def test_earlier_images_are_told_apart_and_their_number_is_checked():
    student = make_student(scene=replace(NOW, history_frames=1))
    scenes, codes = make_scenes(3, times=2), make_latents(3).codes
    swapped = replace(scenes, images=scenes.images.flip(1))
    assert (student(scenes, codes)[0] - student(swapped, codes)[0]).abs().max() > 1e-5
    with pytest.raises(ConfigError, match=r"the scenes hold 1 image, this student takes 2"):
        student(make_scenes(3), codes)


def test_it_is_a_latent_predictor_and_every_part_learns(student):
    assert isinstance(student, LatentPredictor)
    model = make_student()
    logits, features = model(make_scenes(8), make_latents(8).codes)
    (logits.logsumexp(-1).sum() + features.visual.square().sum() + features.action.square().sum()).backward()
    idle = [name for name, p in model.named_parameters() if p.grad is None or p.grad.abs().max() == 0]
    assert idle == []


def test_paper_50m_has_50_million_parameters_with_its_image_encoder():
    cfg = compose("distill", ["student=paper_50m", "latents=none"])
    student = build(cfg.model)
    split = parameter_split(student)
    assert sum(split.values()) == sum(p.numel() for p in student.parameters())
    assert 47.5e6 <= sum(split.values()) <= 52.5e6
    assert split["image encoder"] > 2.5e6 and split["transformer"] > 40e6


def test_batch_statistics_are_frozen_and_refused_without_published_weights():
    encoder = ImageEncoder(backbone="efficientnet_lite0", stages=[3, 4], stride=16, grid=(6, 10), weights="package")
    encoder.load_pretrained()
    before = {key: value.clone() for key, value in encoder.state_dict().items() if "running" in key}
    assert before and any(value.abs().sum() > 0 for key, value in before.items() if "running_mean" in key)
    encoder.train()(make_scenes(2).images).sum().backward()
    after = encoder.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in before.items())
    assert encoder.norms[0].weight.grad is not None, "scale and shift are trained"
    with pytest.raises(ConfigError, match=r"efficientnet_lite0 needs published weights.*without BatchNorm"):
        ImageEncoder(backbone="efficientnet_lite0", stages=[3], stride=16, grid=(6, 10), weights="none")


def test_the_encoder_makes_the_same_tokens_for_any_image_size(student):
    scenes = make_scenes(2)
    larger = torch.nn.functional.interpolate(scenes.images[:, 0], (64, 128))[:, None]
    assert student.images(larger).shape == student.images(scenes.images).shape == (2, 1, 8, student.images.width)
