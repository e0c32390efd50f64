"""Naming the source of a planner's embeddings: one at a time, and no upper bound without a store.

tests/planners/latents/test_live.py and tests/planners/test_fused_training.py load planners with both kinds of sources.
"""

import pytest

from latentdrive.errors import ConfigError
from latentdrive.planners.loading import open_latents


def test_a_store_and_a_live_predictor_at_once_are_refused():
    with pytest.raises(ConfigError, match="latents=a and predictor=b: a planner takes embeddings from one of them"):
        open_latents(latents="a", predictor="b", oracle_future=False, device="cpu")


def test_codes_of_the_future_need_a_store():
    with pytest.raises(ConfigError, match="name it with latents=FOLDER"):
        open_latents(latents=None, predictor=None, oracle_future=True, device="cpu")


def test_no_source_is_named_by_default():
    assert open_latents(latents=None, predictor=None, oracle_future=False, device="cpu") is None
