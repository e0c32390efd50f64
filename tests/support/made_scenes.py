"""Scoring scenes and simulated states made by hand: a three-lane road along x, others at constant
velocity, red lights.

The car's box reaches 4.049 m ahead of its rear axle, 1.127 m behind it and 1.1485 m to either side.
Its centre lies 1.461 m ahead.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch

from latentdrive.geometry import compose, wrap_angle
from latentdrive.pdms.batch import stack
from latentdrive.pdms.scene import (
    AGENTS,
    AX,
    AY,
    HEADING,
    LAYERS,
    STEP_S,
    STEPS,
    VX,
    Areas,
    Polygons,
    RedLights,
    ScoringScene,
    Tracks,
    X,
    Y,
)
from latentdrive.pdms.sub_scores.terms import RawScores, raw_scores
from latentdrive.pdms.versions import V1, V2
from tests.support.small_maps import rectangle

FRONT_M, REAR_M, SIDE_M, MIDDLE_M = 4.049, 1.127, 1.1485, 1.461
TIMES = np.arange(STEPS) * STEP_S
COLUMNS = 11


class Patch(NamedTuple):
    """A polygon of the map: its outline, then its holes."""

    layer: str
    rings: tuple[np.ndarray, ...]
    on_route: bool = False


def patch(layer: str, x0: float, y0: float, x1: float, y1: float, *, on_route: bool = False) -> Patch:
    """An upright rectangle."""
    return Patch(layer, (rectangle(x0, y0, x1, y1),), on_route)


# Two lanes of the route, from y = -2 to 2 and from 2 to 6; the oncoming one from 6 to 10; nothing beyond.
ROAD = (
    patch("ROADBLOCK", -50, -2, 150, 6),
    patch("ROADBLOCK", -50, 6, 150, 10),
    patch("LANE", -50, -2, 150, 2, on_route=True),
    patch("LANE", -50, 2, 150, 6, on_route=True),
    patch("LANE", -50, 6, 150, 10),
)
OWN_Y, BETWEEN_Y, ONCOMING_Y, OFF_Y = 0.0, 2.0, 8.0, -20.0


def polygons(patches: Sequence[Sequence[np.ndarray]]) -> Polygons:
    """Packed polygons. patches: rings of each polygon."""
    rings = [(number, ring) for number, rings_of_polygon in enumerate(patches) for ring in rings_of_polygon]
    vertices = np.concatenate([ring for _, ring in rings]) if rings else np.zeros((0, 2))
    ends = np.cumsum([0, *(len(ring) for _, ring in rings)]).astype(np.int32)
    return Polygons(vertices=vertices, ends=ends, owner=np.array([number for number, _ in rings], np.int32))


def areas(*patches: Patch) -> Areas:
    """A map of these patches."""
    return Areas(
        ids=tuple(str(number) for number in range(len(patches))),
        layers=np.array([LAYERS.index(each.layer) for each in patches], np.int8),
        on_route=np.array([each.on_route for each in patches], bool),
        polygons=polygons([each.rings for each in patches]),
    )


class Other(NamedTuple):
    """A road user: a box of size[0] by size[1] metres around x, y that moves with a speed.

    way: direction of its motion, if not its heading. labelled: speed with which it was first seen,
    if another. seen: steps at which it is present.
    """

    name: str
    x: float
    y: float
    heading: float = 0.0
    speed: float = 0.0
    way: float | None = None
    size: tuple[float, float] = (4.0, 2.0)
    labelled: float | None = None
    seen: range = range(51)


def tracks(others: Sequence[Other], steps: int) -> Tracks:
    """Road users over `steps` steps, at constant velocity."""
    poses, present = np.zeros((steps, len(others), 3)), np.zeros((steps, len(others)), bool)
    labels = np.zeros((len(others), 2))
    for number, other in enumerate(others):
        way = other.heading if other.way is None else other.way
        along = np.array([np.cos(way), np.sin(way)])
        poses[:, number, :2] = np.array([other.x, other.y]) + (np.arange(steps) * STEP_S * other.speed)[:, None] * along
        poses[:, number, 2] = other.heading
        present[[k for k in other.seen if k < steps], number] = True
        labels[number] = (other.speed if other.labelled is None else other.labelled) * along * (other.name in AGENTS)
    poses[~present] = 0.0
    return Tracks(
        tokens=tuple(f"{other.name}{number}" for number, other in enumerate(others)),
        names=tuple(other.name for other in others),
        sizes=np.array([other.size for other in others], float).reshape(-1, 2),
        poses=poses,
        present=present,
        first_velocity=labels,
    )


class Light(NamedTuple):
    """A red connector and the steps at which it is red."""

    ring: np.ndarray
    red: range = range(STEPS)


def lights(items: Sequence[Light]) -> RedLights:
    """Red lights."""
    red = np.array([[step in light.red for light in items] for step in range(STEPS)], bool).reshape(STEPS, len(items))
    names = tuple(f"connector{number}" for number in range(len(items)))
    return RedLights(connectors=names, red=red, polygons=polygons([(light.ring,) for light in items]))


def centreline(*points: tuple[float, float]) -> np.ndarray:
    """A line through these points."""
    line = np.array(points, float)
    heading = np.arctan2(*np.diff(line, axis=0).T[::-1])
    return np.column_stack([line, np.append(heading, heading[-1])])


STRAIGHT_LINE = centreline(*((float(x), 0.0) for x in range(-50, 151, 10)))


def made_scene(
    *others: Other,
    road: Sequence[Patch] = ROAD,
    generation: int = 2,
    red: Sequence[Light] = (),
    line: np.ndarray = STRAIGHT_LINE,
    ego: np.ndarray | None = None,
    reference_m: float = 20.0,
    reference_product: float = 1.0,
    history: np.ndarray | None = None,
    human_terms: np.ndarray | None = None,
    token: str = "scene",
    time_us: int = 0,
) -> ScoringScene:
    """A scene with these road users. The car stands at the origin and looks along x, unless `ego` says otherwise."""
    ego = np.zeros(COLUMNS) if ego is None else ego
    return ScoringScene(
        token=token,
        drive="drive",
        synthetic=False,
        generation=generation,
        time_us=time_us,
        ego=ego,
        areas=areas(*road),
        centreline=line,
        tracks=tracks(others, 51 if generation == 1 else 41),
        lights=lights(red),
        reference=np.zeros((51, 3)),
        reference_product=reference_product,
        reference_progress_m=reference_m,
        history=np.zeros((0, COLUMNS)) if history is None else history,
        human=np.zeros((0, 3)),
        human_terms=human_terms,
    )


def driving(
    speed: float | np.ndarray = 0.0,
    *,
    x: float | np.ndarray | None = None,
    y: float | np.ndarray = 0.0,
    heading: float = 0.0,
    start: float = 0.0,
) -> np.ndarray:
    """41 states with these values. x follows from the speed (from `start` on, along x) unless it is given."""
    states = np.zeros((STEPS, COLUMNS))
    states[:, VX] = speed
    moved = np.concatenate([[0.0], np.cumsum(states[:-1, VX] * STEP_S)]) + start
    states[:, X], states[:, Y], states[:, HEADING] = moved if x is None else x, y, heading
    return states


def circling(speed: float, radius: float) -> np.ndarray:
    """41 states on a circle, from the origin along x; to the left for a positive radius."""
    angle = speed * TIMES / radius
    states = np.zeros((STEPS, COLUMNS))
    states[:, X], states[:, Y], states[:, HEADING] = radius * np.sin(angle), radius * (1 - np.cos(angle)), angle
    states[:, VX] = speed
    return states


def judged(scene: ScoringScene, *states: np.ndarray) -> RawScores:
    """Sub-scores of states, by the rules for which the scene was made."""
    rules = V1 if scene.generation == 1 else V2
    return raw_scores(stack([scene]), torch.from_numpy(np.stack(states))[None], rules, with_history=True)


def moved_scene(scene: ScoringScene, by: np.ndarray) -> ScoringScene:
    """The whole scene, turned by by[2] about the origin, then shifted by by[:2]."""

    def points(xy: np.ndarray) -> np.ndarray:
        return compose(by, np.concatenate([xy, np.zeros((*xy.shape[:-1], 1))], -1))[..., :2]

    def poses(of: np.ndarray) -> np.ndarray:
        return np.concatenate([compose(by, of[..., :3]), of[..., 3:]], -1)

    def moved_polygons(polygons_: Polygons) -> Polygons:
        return Polygons(vertices=points(polygons_.vertices), ends=polygons_.ends, owner=polygons_.owner)

    road, others = scene.areas, scene.tracks
    turn = np.append(np.zeros(2), by[2])
    velocity = compose(turn, np.concatenate([others.first_velocity, np.zeros((len(others), 1))], -1))[..., :2]
    return replace(
        scene,
        ego=poses(scene.ego),
        centreline=poses(scene.centreline),
        reference=poses(scene.reference),
        history=poses(scene.history),
        areas=replace(road, polygons=moved_polygons(road.polygons)),
        lights=replace(scene.lights, polygons=moved_polygons(scene.lights.polygons)),
        tracks=replace(
            others, poses=np.where(others.present[..., None], poses(others.poses), 0.0), first_velocity=velocity
        ),
    )


def plan_of(states: np.ndarray) -> np.ndarray:
    """Eight poses 0.5 s apart, taken from 41 states of a car that starts at the origin."""
    plan = states[5::5, [X, Y, HEADING]].copy()
    plan[:, 2] = wrap_angle(plan[:, 2])
    return plan


def accelerating(ax: float | np.ndarray = 0.0, ay: float | np.ndarray = 0.0) -> np.ndarray:
    """41 states that only accelerate, for comfort."""
    states = np.zeros((STEPS, COLUMNS))
    states[:, AX], states[:, AY] = ax, ay
    return states
