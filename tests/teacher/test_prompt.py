"""What the teacher is asked: words, tokens and patches."""

from dataclasses import replace

import pytest
import torch
from torchvision.transforms.functional import to_pil_image

from latentdrive.teacher import tiny
from latentdrive.teacher.prompt import describe_state
from latentdrive.types import Command
from tests.support.scene_batch import make_scenes
from tests.support.teacher import PIXELS, make_teacher


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    return make_teacher(tmp_path_factory.mktemp("tiny"))


def one_scene(**changes):
    scene = make_scenes(1, known=1.0)
    return replace(scene, **changes)


def test_the_ego_state_is_said_in_fixed_words():
    scene = one_scene(
        velocity=torch.tensor([[12.34, -0.04]]), acceleration=torch.tensor([[-1.06, 0.25]]), command=torch.tensor([0])
    )
    assert describe_state(scene) == ["Velocity +12.3 +0.0, acceleration -1.1 +0.2, command left. Next actions?"]


def test_what_is_not_known_is_said_to_be_unknown_and_its_number_does_not_show():
    no = torch.tensor([False])
    scene = one_scene(velocity_known=no, acceleration_known=no, command_known=no)
    assert describe_state(scene) == ["Velocity unknown, acceleration unknown, command unknown. Next actions?"]
    other = replace(scene, velocity=scene.velocity + 5, command=torch.tensor([int(Command.RIGHT)]))
    assert describe_state(other) == describe_state(scene)


def test_the_tiny_tokenizer_knows_every_word_and_number_of_the_prompt(teacher):
    tokenizer = teacher.processor.tokenizer
    assert tokenizer.tokenize("+12.3 -0.1 99.9") == ["+", "12", ".3", "-", "0", ".1", "99", ".9"]
    prompt = teacher.write(make_scenes(64))
    assert not (prompt.ids == tokenizer.unk_token_id).any()
    assert tiny.make_tokenizer().unk_token_id == tokenizer.unk_token_id


def test_prompts_of_different_length_end_in_the_same_column(teacher):
    prompt = teacher.write(make_scenes(16))
    lengths = prompt.mask.sum(1)
    assert len(lengths.unique()) > 1
    assert (prompt.mask[:, -1] == 1).all() and (prompt.mask.diff(dim=1) >= 0).all()
    assert (prompt.ids[:, -1] == prompt.ids[0, -1]).all()


def test_patches_are_those_of_the_hugging_face_processor_called_image_by_image(teacher):
    scenes = make_scenes(3)
    prompt = teacher.write(scenes)
    pictures = [to_pil_image(scenes.images[i, 0]) for i in range(3)]
    text = teacher.processor.tokenizer.decode(prompt.ids[0][prompt.mask[0].bool()])
    text = text.replace("<|image_pad|>", "")
    text = text.replace("<|vision_start|>", "<|vision_start|><|image_pad|>")
    processed = teacher.processor(text=[text], images=pictures[:1], return_tensors="pt")
    assert torch.equal(processed["pixel_values"], prompt.patches[: len(processed["pixel_values"])])
    assert torch.equal(processed["input_ids"][0], prompt.ids[0][prompt.mask[0].bool()])
    alone = teacher.processor.image_processor(images=pictures, return_tensors="pt")
    assert torch.equal(alone["pixel_values"], prompt.patches) and torch.equal(alone["image_grid_thw"], prompt.grids)


def test_larger_pictures_are_shrunk_to_the_pixel_budget(teacher):
    scenes = make_scenes(2)
    large = replace(scenes, images=torch.nn.functional.interpolate(scenes.images[:, 0], (300, 500))[:, None])
    grids = teacher.write(large).grids
    assert (grids.prod(1) * 8 * 8 <= PIXELS["max_pixels"]).all()


def test_one_image_token_per_merged_patch_and_one_image_per_time(tmp_path):
    teacher = make_teacher(tmp_path)
    prompt = teacher.write(make_scenes(3, times=2))
    tokens = (prompt.ids == teacher.network.config.image_token_id).sum(1)
    assert tokens.tolist() == [2 * (32 // 16) * (64 // 16)] * 3
    assert prompt.grids.tolist() == [[1, 4, 8]] * 6


def test_black_images_and_no_state_leave_nothing_of_the_scene(tmp_path):
    blind = make_teacher(tmp_path, images="black", state=False)
    first, second = blind.write(make_scenes(2, seed=0)), blind.write(make_scenes(2, seed=1))
    assert all(torch.equal(a, b) for a, b in zip(first, second))
    code_only = make_teacher(tmp_path, images="none", state=False)
    prompt = code_only.write(make_scenes(2))
    assert prompt.patches is None and prompt.ids.shape[1] < 8
