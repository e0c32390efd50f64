"""Held-out evaluation: codes of another clip, what they cost, perplexities, and intervals by drive."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from latentdrive.codebook.judging.evaluation import CASES, Coded, code, other_clip
from tests.support.codebook import make_batch, make_model, settle, wake

torch.set_num_threads(1)


def test_shuffled_codes_come_from_the_next_row_of_another_clip():
    assert other_clip(torch.tensor([0, 1, 2])).tolist() == [1, 2, 0]
    assert other_clip(torch.tensor([0, 0, 1, 1])).tolist() == [2, 2, 0, 0]
    assert other_clip(torch.tensor([5, 7, 5, 5])).tolist() == [1, 2, 1, 1]
    assert other_clip(torch.tensor([3, 3])).tolist() == [0, 1]  # nothing else to give


def test_no_row_ever_gets_a_code_of_its_own_clip_where_another_is_there():
    clips = torch.randint(0, 4, (50,), generator=torch.Generator().manual_seed(0))
    assert (clips[other_clip(clips)] != clips).all()


def coded(errors: dict[str, list[float]], ego: list[list[int]]) -> Coded:
    count = len(ego)
    return Coded(
        environment=np.zeros((count, 0), np.int64),
        ego=np.array(ego),
        errors={case: np.array(values) for case, values in errors.items()},
        motion=np.zeros((count, 4)),
        clip=np.arange(count),
        start=np.zeros(count, np.int64),
        place=np.zeros(count, np.int64),
        drives=np.arange(count),
    )


def test_costs_shares_and_perplexities_by_hand():
    summary = coded(
        {"true": [0.2, 0.4], "ego_shuffled": [0.3, 0.6], "zeroed": [0.5, 0.7], "copy": [0.8, 1.2]}, [[0, 3], [1, 3]]
    ).summary()
    assert summary["share_of_copy"] == pytest.approx(0.3)  # 0.6 of 2.0
    assert summary["cost_ego_shuffled"] == pytest.approx(0.5)
    assert summary["cost_zeroed"] == pytest.approx(1.0)
    assert summary["cost_copy"] == pytest.approx(2.0 / 0.6 - 1)
    assert summary["ego_perplexity_slot_0"] == pytest.approx(2.0) and summary["ego_perplexity_slot_1"] == pytest.approx(
        1.0
    )
    assert summary["transitions"] == 2 and summary["drives"] == 2
    assert not any("environment" in name for name in summary)  # one-stage codebooks have none


@pytest.fixture(scope="module")
def evaluated() -> tuple[Coded, list]:
    model = wake(settle(make_model()))
    batches = [replace(make_batch(clips=6, seed=seed), clip=torch.arange(6) + 6 * seed) for seed in range(2)]
    return code(model, batches, features=0.5, pixels=0.5, drive=str), batches


def test_every_transition_is_coded_once_in_order(evaluated):
    result, batches = evaluated
    assert result.ego.shape == (24, 2) and result.environment.shape == (24, 2)
    assert result.clip.tolist() == np.repeat(np.arange(12), 2).tolist()
    assert result.place.tolist() == [0, 1] * 12
    torch.testing.assert_close(
        torch.tensor(result.motion).float(), torch.cat([b.motion.flatten(0, 1) for b in batches])
    )
    assert set(result.errors) == set(CASES) and all(len(error) == 24 for error in result.errors.values())


def test_errors_are_shares_of_the_mean_copy_error(evaluated):
    result, _ = evaluated
    assert result.errors["copy"].mean() == pytest.approx(1.0)
    assert result.summary()["share_of_copy"] == pytest.approx(result.errors["true"].mean())


def test_shuffling_one_book_differs_from_shuffling_the_other(evaluated):
    result, _ = evaluated
    cases = [result.errors[case] for case in CASES[:5]]
    assert all(not np.allclose(a, b) for i, a in enumerate(cases) for b in cases[:i])


def test_labels_of_the_evaluation_are_those_of_encode(evaluated):
    result, batches = evaluated
    latents = wake(settle(make_model())).encode(batches[0].frames, batches[0].motion)
    assert np.array_equal(latents.codes.unflatten(1, (2, 2)).flatten(0, 1).numpy(), result.ego[:12])


def test_long_clips_are_cut_into_blocks_for_intervals():
    model, batch = wake(settle(make_model())), make_batch(clips=4)
    batch = replace(batch, clip=torch.tensor([0, 0, 1, 1]), start=torch.tensor([0, 25, 0, 19]))
    result = code(model, [batch], features=0.5, pixels=0.5, drive=lambda _: "one", block_frames=20)
    summary = result.summary()
    # Frames 0 to 19 and 25 of clip 0; both windows of clip 1 start in one block.
    assert (summary["drives"], summary["blocks"]) == (1, 3) and summary["share_of_copy_low"] > 0
    assert str(result.share("true", of="copy")).endswith("(8 windows of 3 blocks)")


def test_intervals_resample_the_drives_that_clips_belong_to_and_one_drive_has_none():
    model, batch = wake(settle(make_model())), make_batch(clips=4)
    batch = replace(batch, clip=torch.tensor([5, 2, 7, 3]))  # clips of a larger list
    names = {2: "a", 3: "b", 5: "b", 7: "a"}

    def numbers(drive) -> dict[str, float]:
        return code(model, [batch], features=0.5, pixels=0.5, drive=drive).summary()

    two, each, one = numbers(names.get), numbers(str), numbers(lambda _: "route")
    assert (two["drives"], each["drives"], one["drives"]) == (2, 4, 1) and "blocks" not in one
    assert two["cost_zeroed"] == pytest.approx(each["cost_zeroed"]) == pytest.approx(one["cost_zeroed"])
    intervals = [name for name in one if name.endswith(("_low", "_high"))]
    assert len(intervals) == 12 and all(np.isnan(one[name]) for name in intervals)
    assert not any(np.isnan(two[name]) or np.isnan(each[name]) for name in intervals)
    result = code(model, [batch], features=0.5, pixels=0.5, drive=names.get)
    assert result.drives.tolist() == np.repeat([3, 2, 2, 3], 2).tolist()  # a drive is numbered by its first clip


def test_a_one_stage_codebook_is_evaluated_too():
    model = wake(settle(make_model(environment_slots=0, environment_sectors=False)))
    result = code(model, [make_batch()], features=0.5, pixels=0.5, drive=str)
    assert set(result.errors) == {"true", "ego_shuffled", "zeroed", "copy"}
    assert result.environment.shape == (8, 0)


def test_an_untrained_decoder_costs_nothing_to_shuffle():
    model = settle(
        make_model(environment_slots=0, environment_sectors=False)
    )  # the zero output: a copy, whatever the codes
    result = code(model, [make_batch()], features=0.5, pixels=0.5, drive=str)
    assert result.summary()["share_of_copy"] == pytest.approx(1.0, abs=1e-4)
    assert result.summary()["cost_ego_shuffled"] == pytest.approx(0.0, abs=1e-4)
