"""The probe finds what embeddings add to the ego's state, and nothing where they add nothing."""

import math

import numpy as np
import pytest
from probe_embeddings import Linear, Scenes, distance


def made(*, informative: bool, scenes: int = 240, seed: int = 0) -> Scenes:
    """Plans of one pose: a multiple of the state, and of embeddings where they are informative; the rest is noise."""
    rng = np.random.default_rng(seed)
    status, codes = rng.normal(size=(scenes, 3)), rng.normal(size=(scenes, 40))
    plans = 2.0 * status[:, :2] + (codes[:, :2] if informative else rng.normal(size=(scenes, 2)))
    drives = [str(number // 8) for number in range(scenes)]
    return Scenes(
        status=status, plans=plans, drives=drives, embeddings={"store": {"action": codes, "visual": codes[:, 5:]}}
    )


def apart(fitted: Linear, scenes: Scenes, *kinds: str) -> float:
    return distance(fitted(scenes, scenes.more("store", kinds)), scenes.plans).mean()


def test_embeddings_that_know_the_plan_are_found_and_others_add_nothing():
    for informative, gain in ((True, math.sqrt(math.pi / 2)), (False, 0.0)):  # the mean length of two unit normals
        train, test = made(informative=informative), made(informative=informative, seed=1)
        blind = apart(Linear(train, train.more("store", ())), test)
        seen = apart(Linear(train, train.more("store", ("action",))), test, "action")
        assert blind - seen == pytest.approx(gain, abs=0.15)


def test_what_the_state_says_already_is_not_counted_twice():
    train, test = made(informative=False), made(informative=False, seed=1)
    copied = [Scenes(**{**vars(one), "embeddings": {"store": {"action": 5.0 * one.status}}}) for one in (train, test)]
    blind, seen = (Linear(copied[0], copied[0].more("store", kinds)) for kinds in ((), ("action",)))
    assert apart(seen, copied[1], "action") == pytest.approx(apart(blind, copied[1]), abs=1e-6)


def test_few_drives_make_fewer_folds_and_one_drive_is_refused():
    train = made(informative=True, scenes=24)  # three drives
    assert Linear(train, train.more("store", ("visual",))).penalty > 0
    lone = made(informative=True, scenes=8)
    with pytest.raises(SystemExit, match=r"--train: 1 drive with scenes"):
        Linear(lone, lone.more("store", ("visual",)))
