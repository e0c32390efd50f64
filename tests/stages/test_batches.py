"""What a stage's batches may leave out, and what they must say."""

import pytest

from latentdrive.stages.batches import StageBatches


class Batches(StageBatches):
    """The least that a stage must give."""

    @property
    def facts(self):
        return {}

    def estimate(self, model):
        return "nothing to read"

    def train_batches(self, start_step):
        return []

    def validation_batches(self):
        return []


def test_defaults_do_nothing():
    batches = Batches(parents={"codebook": "a"}, former_ids={})
    assert batches.learned_from is None and batches.summary() == "" and batches.free_settings == ()
    assert list(batches.watch([1, 2], what="clips")) == [1, 2]


def test_batches_without_held_out_batches_can_not_be_made():
    class Endless(StageBatches):
        def train_batches(self, start_step):
            return []

    with pytest.raises(TypeError, match=r"estimate.*facts.*validation_batches"):
        Endless(parents={}, former_ids={})
