"""A store of made-up scenes: their source, functions that prepare them, and what tests ask about the result."""

import os
import signal
from dataclasses import fields, is_dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from latentdrive.errors import StoreError, UnreadableScene
from latentdrive.pdms.history import ego_history, ego_state
from latentdrive.pdms.map.areas import areas_near
from latentdrive.pdms.map.index import index_of
from latentdrive.pdms.scene import ScoringScene
from latentdrive.pdms.storage.building import build_store
from latentdrive.pdms.storage.store import ScoringStore
from latentdrive.pdms.traffic import red_lights, replay
from latentdrive.pdms.versions import V1, V2, Rules
from latentdrive.types import MapArea, SceneTruth
from tests.support.recorded_traffic import NOWHERE, objects, truth

ROAD = MapArea(id="road", rings=(np.array([[-50.0, -5.0], [200.0, -5.0], [200.0, 5.0], [-50.0, 5.0]]),))
ISLE = MapArea(id="isle", rings=(ROAD.rings[0] + 20.0, ROAD.rings[0] * 0.1 + 20.0))
TOWN = replace(NOWHERE, roadblocks=(ROAD,), intersections=(ISLE,))
TOKENS = ("a@0", "a@1", "b@0", "b@1", "c@0")


class Drives:
    """Made-up scenes with tokens FILE@NUMBER: a car drives NUMBER metres farther ahead than 20 m.

    speed: of that car, m/s. bad: tokens whose log can't be read.
    """

    def __init__(self, *, speed: float = 2.0, bad: tuple[str, ...] = ()) -> None:
        self.speed, self.bad = speed, bad

    def location(self, token: str) -> Path:
        return Path("logs") / f"{token.partition('@')[0]}.pkl"

    def truth(self, token: str) -> SceneTruth:
        if token in self.bad:
            raise UnreadableScene(self.location(token), "the disk is away")
        x = 20.0 + float(token.partition("@")[2])
        ahead = [objects(("car", "vehicle", x + self.speed * 0.5 * i, 0, 0, self.speed, 0)) for i in range(11)]
        return replace(truth(*ahead, road_map=TOWN), token=token, drive=token.partition("@")[0])


def prepare(scene: SceneTruth, rules: Rules) -> ScoringScene:
    """A scene with what this test needs: its parts are real, but the progress reference is a straight line."""
    index, now = index_of(scene.map), scene.frames[scene.now]
    steps = np.arange(51.0)
    line = np.stack([now.ego_pose[0] + steps, np.full(51, now.ego_pose[1]), steps / 7], -1)
    return ScoringScene(
        token=scene.token,
        drive=scene.drive,
        synthetic=scene.synthetic,
        generation=rules.generation,
        time_us=now.timestamp_us,
        ego=ego_state(now),
        areas=areas_near(index, now.ego_pose, ()),
        centreline=line,
        tracks=replay(scene, rules),
        lights=red_lights(scene, rules, index),
        reference=line,
        reference_product=0.5,
        reference_progress_m=1 / 3,
        history=ego_history(scene) if rules.generation == 2 else np.zeros((0, 11)),
        human=scene.human.poses,
        human_terms=np.arange(8.0) if rules.generation == 2 else None,
    )


prepare_v1, prepare_v2 = partial(prepare, rules=V1), partial(prepare, rules=V2)


def prepare_but_not_b(scene: SceneTruth) -> ScoringScene:
    if scene.token == "b@0":
        raise ValueError("its lanes lead nowhere")
    return prepare_v1(scene)


def prepare_as_x(scene: SceneTruth) -> ScoringScene:
    return prepare_v1(replace(scene, token="x"))


def prepare_until_killed(scene: SceneTruth) -> ScoringScene:
    if scene.drive == "c":
        os.kill(os.getpid(), signal.SIGKILL)
    return prepare_v1(scene)


def build(
    folder: Path,
    source: Any = None,
    tokens: tuple = TOKENS,
    *,
    prepare: Any = prepare_v1,
    rules: Rules = V1,
    processes: int = 1,
):
    """Build a store of made-up scenes."""
    return build_store(
        folder, source or Drives(), tokens, prepare, rules=rules, processes=processes, memory_gb=8.0, progress=None
    )


def file_of(folder: Path, name: str) -> Path:
    """The store's file for the scenes of a log."""
    return next(folder.glob(f"{name}.pkl-*.scenes"))


def same(a: Any, b: Any) -> bool:
    """Whether two values are equal in every bit, type and shape."""
    if is_dataclass(a):
        return type(a) is type(b) and all(same(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    return type(a) is type(b) and np.array(a).tobytes() == np.array(b).tobytes() and a == a and repr(a) == repr(b)


def damage(folder: Path) -> dict[str, str]:
    """Messages of the scenes of a store that can't be read, by token."""
    store, messages = ScoringStore(folder), {}
    for token in store.tokens:
        try:
            store.get(token)
        except StoreError as error:
            messages[token] = str(error)
    return messages
