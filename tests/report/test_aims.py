"""What is missed is said: more is asked for on the world, where the truth is known, than on real video."""

import pytest

from latentdrive.report.aims import codebook_misses

GOOD = {
    "held_out/cost_ego_shuffled": 0.4, "held_out/cost_environment_shuffled": 0.06, "held_out/ego_perplexity": 9.0,
    "held_out/ego_perplexity_slot_0": 4.0, "held_out/environment_perplexity_slot_0": 4.0,
    "probe/ego codes/forward displacement/linear": 0.7, "probe/ego codes/yaw change/linear": 0.8,
    "probe/environment codes/others/linear": 0.4, "probe/present frame/others/linear": 0.1,
    "probe/environment codes/ego/mlp": 0.3, "probe/present frame/ego/mlp": 0.25,
}  # fmt: skip


def test_nothing_is_said_of_a_run_that_reaches_all():
    assert codebook_misses(GOOD) == []


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("held_out/cost_ego_shuffled", 0.2, "0.20, aimed at 0.3 or more, missed by 0.10"),
        ("held_out/cost_environment_shuffled", 0.01, "0.01, aimed at 0.05 or more"),
        ("held_out/environment_perplexity_slot_1", 1.0, "poorest slot: 1.00, aimed at 3 or more"),
        ("probe/environment codes/others/linear", 0.2, "above that from the present frame: 0.10, aimed at 0.2 or more"),
        ("probe/environment codes/ego/mlp", 0.5, "0.25, aimed at 0.1 or less, missed by 0.15"),
    ],
)
def test_each_miss_is_one_sentence_with_its_distance(name, value, said):
    (found,) = codebook_misses(GOOD | {name: value})
    assert said in found


def test_less_is_asked_for_where_there_is_no_truth():
    video = {name: value for name, value in GOOD.items() if name.startswith("held_out")}
    assert codebook_misses(video | {"held_out/cost_ego_shuffled": 0.06}) == []
    assert "aimed at 0.05 or more" in codebook_misses(video | {"held_out/cost_ego_shuffled": 0.04})[0]
