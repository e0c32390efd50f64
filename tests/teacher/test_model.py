"""The teacher sees its prompt, keeps slots apart as it should, and survives a round trip through a folder."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from latentdrive import checkpoint
from latentdrive.checkpoint import Card
from latentdrive.errors import CheckpointError, ConfigError
from latentdrive.teacher import hugging_face, tiny
from latentdrive.teacher.model import causal_mask, joint_mask
from latentdrive.types import Origin
from tests.support.paths import ROOT
from tests.support.scene_batch import make_scenes
from tests.support.teacher import NOW, SHAPE, make_codes, make_teacher


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    return make_teacher(tmp_path_factory.mktemp("tiny"))


def test_the_joint_mask_by_hand():
    allowed = joint_mask(torch.tensor([[False, True]]), slots=2)[0, 0].int().tolist()
    # columns: padding, prompt | placeholder 1, 2 | code 1
    assert allowed == [
        [1, 0, 0, 0, 0],  # padding sees itself alone
        [0, 1, 0, 0, 0],
        [0, 1, 1, 0, 0],
        [0, 1, 1, 1, 0],
        [0, 1, 0, 0, 1],  # a code never sees a placeholder
    ]


def test_a_code_changes_later_slots_only_and_the_one_pass_not_at_all(teacher):
    scenes, codes = make_scenes(4), make_codes(4)
    before = teacher(scenes, codes)
    changed = codes.clone()
    changed[:, 5] = (changed[:, 5] + 1) % 16
    after = teacher(scenes, changed)
    moved = (before.autoregressive - after.autoregressive).abs().amax((0, 2))
    assert (moved[:6] == 0).all() and (moved[6:] > 1e-4).all()
    assert torch.equal(before.one_pass, after.one_pass)


def test_one_forward_gives_both_ways_as_if_run_apart(teacher):
    scenes = make_scenes(5)
    context = teacher.read(scenes)
    decoded = teacher.decode_states(context)
    together = teacher.slot_states(context, teacher.code_logits(decoded).argmax(-1))
    torch.testing.assert_close(together.autoregressive, decoded, atol=1e-5, rtol=0)
    torch.testing.assert_close(together.one_pass, teacher.one_pass_states(context), atol=1e-5, rtol=0)


def test_the_prompt_is_read_as_transformers_reads_it(teacher):
    scenes = make_scenes(5)
    prompt, context = teacher.write(scenes), teacher.read(scenes)
    theirs = teacher.network(
        input_ids=prompt.ids,
        attention_mask=prompt.mask,
        pixel_values=prompt.patches,
        image_grid_thw=prompt.grids,
        mm_token_type_ids=(prompt.ids == teacher.network.config.image_token_id).int(),
    )
    ours = teacher.network.lm_head(teacher._run(context.embedded, context.positions, causal_mask(context.real)))
    torch.testing.assert_close(ours[:, -1], theirs.logits[:, -1], atol=1e-5, rtol=0)


def test_image_tokens_carry_the_vision_states_in_order(teacher):
    scenes = make_scenes(3)
    prompt, context = teacher.write(scenes), teacher.read(scenes)
    at = prompt.ids == teacher.network.config.image_token_id
    for row in range(3):
        assert torch.equal(context.embedded[row][at[row]], context.visual[row])
    swapped = teacher.read(replace(scenes, images=scenes.images.flip(0)))
    torch.testing.assert_close(swapped.visual, context.visual.flip(0), atol=1e-5, rtol=0)


@pytest.mark.parametrize("decode", ["autoregressive", "one_pass"])
def test_the_middle_states_are_those_of_the_layer_that_the_depth_names(tmp_path, decode):
    teacher, scenes = make_teacher(tmp_path, decode=decode, middle_depth=0.5), make_scenes(3, times=2)
    plain = make_teacher(tmp_path, decode=decode).predict(scenes)
    labels = teacher.predict(scenes)
    assert plain.features.middle is None and torch.equal(plain.codes, labels.codes)
    assert torch.equal(plain.features.visual, labels.features.visual)
    assert torch.equal(plain.features.action, labels.features.action)
    context = teacher.read(scenes)
    if decode == "one_pass":
        tokens = teacher.network.get_input_embeddings()(teacher.slot_ids).expand(3, -1, -1)
    else:
        tokens = teacher.network.get_input_embeddings()(teacher.code_ids[labels.codes[:, :-1]])
    steps = context.positions[:, :, -1:] + torch.arange(1, tokens.shape[1] + 1)
    states = teacher.network.model.language_model(
        inputs_embeds=torch.cat([context.embedded, tokens], 1),
        attention_mask=causal_mask(torch.nn.functional.pad(context.real, (0, tokens.shape[1]), value=True)),
        position_ids=torch.cat([context.positions, steps], 2),
        output_hidden_states=True,
    ).hidden_states[1]  # after one of two layers
    torch.testing.assert_close(labels.features.middle.action, states[:, -12:], atol=1e-5, rtol=0)
    image = states[torch.arange(3)[:, None], context.image].transpose(1, 2).unflatten(2, (2, 4))
    pooled = torch.nn.functional.adaptive_avg_pool2d(image, (1, 2)).flatten(2).transpose(1, 2)
    torch.testing.assert_close(labels.features.middle.visual, pooled, atol=1e-5, rtol=0)
    prompt = teacher.write(scenes)
    present = [(row == teacher.network.config.image_token_id).nonzero()[8:, 0].tolist() for row in prompt.ids]
    assert context.image.tolist() == present  # 8 tokens of the earlier image come before the present one's


def test_a_middle_depth_leaves_layers_on_both_sides(tmp_path):
    with pytest.raises(ConfigError, match=r"model\.middle_depth=0\.9 is 2 of 2 layers"):
        make_teacher(tmp_path, middle_depth=0.9)


def test_earlier_images_are_told_apart_and_features_are_of_the_present_one(teacher):
    scenes = make_scenes(3, times=2)
    context = teacher.read(scenes)
    assert context.visual.shape == (3, 2 * 8, 32) and context.grid == (2, 4)
    assert torch.equal(context.positions[:, :, -1].amax(0), context.positions[:, :, -1].amin(0))
    seen, swapped = (teacher.predict(s) for s in (scenes, replace(scenes, images=scenes.images.flip(1))))
    assert (seen.logits - swapped.logits).abs().max() > 1e-4
    now = teacher.predict(replace(scenes, images=scenes.images[:, 1:]))
    torch.testing.assert_close(seen.features.visual, now.features.visual, atol=1e-5, rtol=0)


def test_a_result_does_not_depend_on_its_neighbours(teacher):
    scenes = make_scenes(6)
    together = teacher.predict(scenes)
    alone = teacher.predict(scenes._map(lambda tensor: tensor[2:3]))
    torch.testing.assert_close(together.logits[2:3], alone.logits, atol=1e-4, rtol=0)


def test_black_images_change_the_output_and_the_ego_state_does_too(teacher):
    scenes = make_scenes(4, known=1.0)
    seen = teacher.predict(scenes).logits
    black = teacher.predict(replace(scenes, images=torch.zeros_like(scenes.images))).logits
    faster = teacher.predict(replace(scenes, velocity=scenes.velocity + 5)).logits
    assert (seen - black).abs().max() > 1e-3 and (seen - faster).abs().max() > 1e-3


@pytest.mark.parametrize("way", ["autoregressive", "one_pass"])
def test_each_way_of_predicting_trains_the_vision_tower_and_its_tokens(tmp_path, way):
    teacher = make_teacher(tmp_path)
    states = getattr(teacher(make_scenes(4), make_codes(4)), way)
    teacher.code_logits(states).logsumexp(-1).sum().backward()
    vision = {name: p.grad for name, p in teacher.network.model.visual.named_parameters()}
    assert all(grad is not None and grad.abs().max() > 0 for grad in vision.values()), "a part of the tower is idle"
    rows = teacher.network.get_input_embeddings().weight.grad.abs().amax(1)
    assert (rows[teacher.slot_ids] > 0).all() == (way == "one_pass")


def test_frozen_parts_are_not_trained(tmp_path):
    teacher = make_teacher(tmp_path, frozen=["model.visual"])
    assert not any(p.requires_grad for p in teacher.network.model.visual.parameters())
    assert all(p.requires_grad for p in teacher.network.model.language_model.parameters())


@pytest.mark.parametrize("decode", ["autoregressive", "one_pass"])
def test_a_prediction_holds_codes_logits_and_features(tmp_path, decode):
    teacher = make_teacher(tmp_path, decode=decode)
    teacher.codebook_id = "book"
    latents = teacher.predict(make_scenes(3))
    assert latents.origin is Origin.TEACHER and latents.codebook_id == "book"
    assert torch.equal(latents.codes, latents.logits.argmax(-1)) and latents.logits.shape == (3, 12, 16)
    assert latents.features.visual.shape == (3, 2, 32) and latents.features.action.shape == (3, 12, 32)


def test_mass_outside_counts_every_token_but_the_codes(teacher):
    states = teacher(make_scenes(2), make_codes(2)).one_pass
    probabilities = teacher.network.lm_head(states).softmax(-1)
    others = [i for i in range(SHAPE["rows"]) if i not in teacher.vocabulary.codes]
    torch.testing.assert_close(teacher.mass_outside(states), probabilities[..., others].sum(-1), atol=1e-5, rtol=0)


PREDICT_ELSEWHERE = """
import sys, torch
sys.path.insert(0, sys.argv[2])
from tests.support.scene_batch import make_scenes
from latentdrive import checkpoint
from latentdrive.teacher.model import Teacher
model, card = checkpoint.load(sys.argv[1], expect=Teacher)
latents = model.predict(make_scenes(3))
assert latents.codebook_id == "b1"
assert model.processor.image_processor.size["longest_edge"] == 2048
torch.save(latents.logits, sys.argv[1] + "/logits.pt")
"""


def test_a_checkpoint_predicts_the_same_in_a_new_process_without_network(tmp_path):
    node = {"folder": str(tmp_path / "tiny"), "shape": SHAPE, "min_pixels": 1024, "max_pixels": 2048, "seed": 0}
    teacher = make_teacher(tmp_path / "tiny")
    with torch.no_grad():  # as training would
        teacher.network.lm_head.weight += 0.01
    config = {
        "_target_": "latentdrive.teacher.model.Teacher",
        "parts": {"_target_": "latentdrive.teacher.tiny.load_tiny_qwen", **node},
        "codes": 16,
        "transitions": 3,
        "codes_per_transition": 4,
        "images": "camera",
        "scene": {"_target_": "latentdrive.data.batches.scene_cutting.SceneSpec", **vars(NOW)},
        "state": True,
        "decode": "autoregressive",
        "visual_grid": [1, 2],
        "frozen": [],
        "seed": 0,
    }
    folder = tmp_path / "checkpoint"
    checkpoint.save(folder, teacher, config=config, card=Card(kind="Teacher", parents={"codebook": "b1"}))
    (tmp_path / "tiny").rename(tmp_path / "gone")
    offline = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "empty")}
    subprocess.run([sys.executable, "-c", PREDICT_ELSEWHERE, str(folder), str(ROOT)], check=True, env=offline)
    logits = torch.load(folder / "logits.pt", weights_only=True)
    torch.testing.assert_close(logits, teacher.predict(make_scenes(3)).logits, atol=1e-5, rtol=0)


def test_a_folder_without_a_model_says_what_to_download(tmp_path):
    with pytest.raises(
        CheckpointError, match=r"config\.json is missing: download .*\(hf download Qwen/Qwen2\.5-VL-3B-Instruct"
    ):
        hugging_face.load_qwen(path=str(tmp_path), dtype="float32", min_pixels=1024, max_pixels=2048)


def test_a_model_folder_that_lacks_weights_is_refused(tmp_path):
    folder = tmp_path / "tiny"
    tiny.write(folder, tiny.TinyShape(**SHAPE), seed=0)
    from safetensors.torch import load_file, save_file

    state = load_file(folder / "model.safetensors")
    state.pop("visual.blocks.0.norm1.weight")
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"1 weights do not fit.*norm1"):
        hugging_face.load_qwen(path=str(folder), dtype="float32", min_pixels=1024, max_pixels=2048)


def test_the_toy_is_written_once_and_the_same_seed_gives_the_same_weights(tmp_path):
    first = make_teacher(tmp_path / "a").network.state_dict()
    again = make_teacher(tmp_path / "a").network.state_dict()
    other = make_teacher(tmp_path / "b").network.state_dict()
    assert len(list((tmp_path / "a").iterdir())) == 1
    assert all(torch.equal(first[key], again[key]) and torch.equal(first[key], other[key]) for key in first)
