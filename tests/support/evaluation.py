"""Scenes, results and states made by hand, small enough to be worked out on paper."""

from pathlib import Path

import numpy as np

from latentdrive.errors import UnreadableScene
from latentdrive.evaluation.results import Results
from latentdrive.pdms.scene import Areas, Polygons, RedLights, ScoringScene, Tracks
from latentdrive.pdms.versions import Version
from latentdrive.types import Command, EgoHistory, Scene

PLACE = np.array([100.0, 200.0, np.pi / 2])  # the ego looks north
SPEED_MPS = 5.0


def make_scene(token: str, *, velocity: tuple[float, float] = (5.0, 0.0), velocity_known: bool = True) -> Scene:
    """A scene without sensors."""
    rows = np.zeros((4, 3), np.float32)
    moving = np.tile(np.array(velocity, np.float32), (4, 1))
    ego = EgoHistory(
        times_s=np.array([-1.5, -1.0, -0.5, 0.0]),
        poses=rows,
        poses_known=True,
        velocity=moving,
        velocity_known=velocity_known,
        acceleration=np.zeros((4, 2), np.float32),
        acceleration_known=True,
        command=Command.STRAIGHT,
        command_known=True,
    )
    return Scene(token=token, drive="d", cameras={}, ego=ego)


class MadeSource:
    """A SceneSource of scenes from `make_scene`. The truth of a scene is a sentence.

    unreadable: token of a scene that cannot be opened.
    """

    def __init__(self, *tokens: str, unreadable: str = "") -> None:
        self.tokens, self.unreadable = tokens, unreadable

    def __getitem__(self, token: str) -> Scene:
        if token == self.unreadable:
            raise UnreadableScene(token, "its log is damaged")
        return make_scene(token)

    def truth(self, token: str) -> str:
        return f"truth of {token}"

    def drive(self, token: str) -> str:
        return "d"

    def location(self, token: str) -> Path:
        return Path(f"{token}.log")

    def start(self, token: str) -> tuple[int, np.ndarray]:
        return 0, PLACE

    def summary(self) -> str:
        return f"{len(self.tokens)} scenes"


def polygons(*rings: list[tuple[float, float]]) -> Polygons:
    """One polygon a ring, in metres ahead and left of the ego, in global coordinates."""
    turned = [np.array([[PLACE[0] - left, PLACE[1] + ahead] for ahead, left in ring]) for ring in rings]
    ends = np.cumsum([0, *map(len, turned)]).astype(np.int32)
    vertices = np.concatenate(turned) if turned else np.zeros((0, 2))
    return Polygons(vertices=vertices, ends=ends, owner=np.arange(len(turned), dtype=np.int32))


def states_ahead(speed_mps: float = SPEED_MPS) -> np.ndarray:
    """41 simulated states of a car that keeps its speed straight ahead."""
    states = np.zeros((41, 11))
    states[:, 0], states[:, 1] = PLACE[0], PLACE[1] + speed_mps * 0.1 * np.arange(41)
    states[:, 2], states[:, 3] = PLACE[2], speed_mps
    return states


def make_scoring_scene(token: str, *, drive: str = "d", time_us: int = 0, road_m: float = 60.0) -> ScoringScene:
    """A straight road, 8 m wide, that ends `road_m` ahead of the ego.

    A car stands 10 m ahead and 3 m to the left. A red light is 30 m ahead.
    """
    block = [(-20.0, -4.0), (-20.0, 4.0), (road_m, 4.0), (road_m, -4.0)]
    ahead = np.arange(51) * 0.1 * SPEED_MPS
    reference = np.stack([np.full(51, PLACE[0]), PLACE[1] + ahead, np.full(51, PLACE[2])], -1)
    ego = states_ahead()[0]
    line = np.stack([np.full(9, PLACE[0]), PLACE[1] + np.linspace(-20, 60, 9), np.full(9, PLACE[2])], -1)
    poses = np.tile(np.array([PLACE[0] - 3.0, PLACE[1] + 10.0, PLACE[2]]), (41, 1, 1))
    return ScoringScene(
        token=token,
        drive=drive,
        synthetic=False,
        generation=2,
        time_us=time_us,
        ego=ego,
        areas=Areas(
            ids=("1", "2"),
            layers=np.array([0, 1], np.int8),
            on_route=np.array([False, True]),
            polygons=polygons(block, block),
        ),
        centreline=line,
        tracks=Tracks(
            tokens=("car",),
            names=("vehicle",),
            sizes=np.array([[4.0, 2.0]]),
            poses=poses,
            present=np.ones((41, 1), bool),
            first_velocity=np.zeros((1, 2)),
        ),
        lights=RedLights(
            connectors=("7",),
            red=np.ones((41, 1), bool),
            polygons=polygons([(30.0, -2.0), (30.0, 2.0), (40.0, 2.0), (40.0, -2.0)]),
        ),
        reference=reference,
        reference_product=1.0,
        reference_progress_m=20.0,
        history=np.zeros((14, 11)),
        human=np.zeros((8, 3)),
        human_terms=np.ones(8),
    )


def make_results(
    scores: list[float], drives: list[str], *, version: Version = Version.EPDMS_V2_2, **changed
) -> Results:
    """Results in which every sub-score is 1 except ego progress, which equals the score.

    changed: replaces whole fields or single sub-scores.
    """
    count = len(scores)
    terms = {name: np.ones(count) for name in version.rules.columns} | {"ego_progress": np.array(scores, float)}
    terms |= {name: np.array(values, float) for name, values in changed.items() if name in terms}
    fields = {
        "version": version,
        "tokens": tuple(f"t{number}" for number in range(count)),
        "drives": tuple(drives),
        "terms": terms,
        "score": np.array(scores, float),
        "valid": np.ones(count, bool),
        "progress_m": np.full(count, 10.0),
        "reference_progress_m": np.full(count, 20.0),
        "collision_step": np.full(count, -1, np.int64),
        "collision_track": ("",) * count,
        "ttc_step": np.full(count, -1, np.int64),
        "failures": {},
        "links": None,
    }
    return Results(**fields | {name: value for name, value in changed.items() if name in fields})
