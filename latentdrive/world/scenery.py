"""Scenery: road, markings, ground, buildings, trees, poles and vehicles as meshes, drawn at random around given lanes.

Third step of the world. Enough stands about that motion is visible in every part of the picture. Knows no renderer.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from latentdrive.types import FROZEN
from latentdrive.world import textures
from latentdrive.world.drive import Lane, Mark
from latentdrive.world.meshes import Layer, Mesh, Workbench

MARK_M, DASH_M, GAP_M = 0.16, 3.0, 4.5  # width of a line, length of a dash, gap between dashes
KERB_M = 0.5  # what shows of the kerb beside the outermost lane
MARGIN_M = 130.0  # ground beyond the lanes
WHITE, YELLOW = np.array([0.95, 0.95, 0.93]), np.array([0.95, 0.75, 0.2])
PAINTS = np.array(
    [[0.85, 0.85, 0.87], [0.12, 0.12, 0.14], [0.5, 0.52, 0.55], [0.65, 0.1, 0.1], [0.12, 0.25, 0.55], [0.2, 0.4, 0.25],
     [0.9, 0.75, 0.15], [0.75, 0.4, 0.15], [0.35, 0.2, 0.15], [0.55, 0.7, 0.8]]
)  # fmt: skip


@dataclass(**FROZEN)
class Density:
    """How much stands about. buildings, trees: for every 100 m x 100 m of free ground. poles_m: metres between poles."""

    buildings: float
    trees: float
    poles_m: float


@dataclass(**FROZEN)
class Look:
    """What a drive looks like. sky, ground: names of pictures. daylight in [0.5, 1]. tints darken the pictures."""

    sky: str
    ground: str
    daylight: float
    ground_tint: Float64[np.ndarray, "3"]
    road_tint: Float64[np.ndarray, "3"]
    seed: int


def random_look(rng: np.random.Generator) -> Look:
    """Weather, ground and road surface of a drive."""
    green, dry = np.array([0.62, 0.78, 0.42]), np.array([0.85, 0.74, 0.52])
    share = rng.random()
    return Look(
        sky=f"sky{rng.integers(textures.SKIES)}", ground=f"ground{rng.integers(textures.GROUNDS)}",
        daylight=float(rng.uniform(0.65, 1.0)), ground_tint=green + (dry - green) * share,
        road_tint=np.full(3, rng.uniform(0.42, 0.72)) * (1 + rng.uniform(-0.04, 0.04, 3)), seed=int(rng.integers(2**31)),
    )  # fmt: skip


def surroundings(lanes: tuple[Lane, ...], look: Look, density: Density) -> list[Mesh]:
    """Everything that stands still."""
    rng = np.random.default_rng(look.seed)
    bench = Workbench()
    _ground(bench, lanes, look)
    for lane in lanes:
        _road(bench, lane, look)
    centres = np.concatenate([lane.points for lane in lanes])
    half = max(lane.width_m for lane in lanes) / 2
    _buildings(bench, rng, centres[::4], half, look, density)
    _trees(bench, rng, centres[::4], half, look, density)
    _poles(bench, rng, lanes, centres, half, look, density)
    return bench.meshes()


def vehicle(rng: np.random.Generator, size: Float64[np.ndarray, "3"], kind: str, daylight: float) -> list[Mesh]:
    """A vehicle at the origin, its length along x: body, cabin with dark windows, wheels, lights and a shadow."""
    bench = Workbench()
    length, width, height = size
    paint = PAINTS[rng.integers(len(PAINTS))] * daylight
    glass, dark = np.array([0.16, 0.2, 0.25]) * daylight, np.full(3, 0.06)
    clearance, here = 0.28, np.zeros(3)
    flat = np.array([[1, -1], [1, 1], [-1, 1], [-1, -1]]) * (size[:2] / 2 + 0.12)
    bench.quads(
        Layer.SHADOWS, "plain", np.append(flat, np.zeros((4, 1)), 1)[None], np.zeros((1, 4, 2)), np.full((1, 3), 0.09)
    )
    if kind == "car":
        body, cabin = 0.52 * height, 0.48 * height - clearance
        bench.box("plain", here, (length, width, body), base_m=clearance, colour=paint, tile_m=1.0)
        middle = np.array([-0.04 * length, 0.0, 0.0])
        bench.box(
            "plain",
            middle,
            (0.56 * length, 0.94 * width, 0.8 * cabin),
            base_m=clearance + body,
            colour=glass,
            tile_m=1.0,
            taper=0.2,
        )
        bench.box(
            "plain",
            middle,
            (0.43 * length, 0.74 * width, 0.2 * cabin),
            base_m=clearance + body + 0.8 * cabin,
            colour=paint,
            tile_m=1.0,
        )
    elif kind == "truck":
        load = PAINTS[rng.integers(len(PAINTS))] * daylight
        cab = np.array([length / 2 - 1.0, 0.0, 0.0])
        bench.box("plain", cab, (2.0, width, 0.45 * height), base_m=0.5, colour=paint, tile_m=1.0)
        bench.box(
            "plain",
            cab,
            (1.9, 0.96 * width, 0.25 * height),
            base_m=0.5 + 0.45 * height,
            colour=glass,
            tile_m=1.0,
            taper=0.1,
        )
        bench.box(
            "kerb", np.array([-1.2, 0.0, 0.0]), (length - 2.5, width, height - 0.9), base_m=0.9, colour=load, tile_m=1.5
        )
    else:
        bench.box("plain", here, (length, width, 0.45 * height), base_m=clearance, colour=paint, tile_m=1.0)
        bench.box(
            "plain",
            here,
            (0.97 * length, 0.99 * width, 0.33 * height),
            base_m=clearance + 0.45 * height,
            colour=glass,
            tile_m=1.0,
        )
        rest = height - clearance - 0.78 * height
        bench.box(
            "plain", here, (0.98 * length, width, rest), base_m=clearance + 0.78 * height, colour=paint, tile_m=1.0
        )
    for x in (-0.31 * length, 0.31 * length):
        for y in (-1, 1):
            wheel = np.array([x, y * (width / 2 - 0.1), 0.0])
            bench.box("plain", wheel, (0.66, 0.24, 0.62), base_m=0.0, colour=dark, tile_m=1.0, top=False)
    for x, colour in ((length / 2, np.array([1.0, 0.97, 0.8])), (-length / 2, np.array([0.85, 0.06, 0.05]))):
        for y in (-1, 1):
            lamp = np.array([x, y * (width / 2 - 0.22), 0.0])
            bench.box("plain", lamp, (0.08, 0.34, 0.2), base_m=0.68, colour=1.6 * colour, tile_m=1.0)
    return bench.meshes()


def edges(points: Float64[np.ndarray, "n 2"], offset_m: float) -> Float64[np.ndarray, "n 2"]:
    """The polyline moved to its left by offset_m."""
    tangent = np.gradient(points, axis=0)
    normal = np.stack([-tangent[:, 1], tangent[:, 0]], -1) / np.linalg.norm(tangent, axis=1, keepdims=True)
    return points + offset_m * normal


def _ground(bench: Workbench, lanes: tuple[Lane, ...], look: Look) -> None:
    """A grid of tiles; large ones would be cut badly by the renderer."""
    points = np.concatenate([lane.points for lane in lanes])
    tile = 24.0
    low, high = points.min(0) - MARGIN_M, points.max(0) + MARGIN_M
    x, y = np.meshgrid(np.arange(low[0], high[0], tile), np.arange(low[1], high[1], tile), indexing="ij")
    corner = np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], -1)
    steps = np.array([[0, 0, 0], [tile, 0, 0], [tile, tile, 0], [0, tile, 0]])
    corners = corner[:, None] + steps
    colours = np.tile(look.ground_tint * look.daylight, (len(corners), 1))
    bench.quads(Layer.GROUND, look.ground, corners, corners[..., :2] / 16.0, colours)


def _road(bench: Workbench, lane: Lane, look: Look) -> None:
    half, light = lane.width_m / 2, look.daylight
    left, right = edges(lane.points, half), edges(lane.points, -half)
    outer = edges(lane.points, half + KERB_M), edges(lane.points, -half - KERB_M)
    bench.ribbon(Layer.KERB, "kerb", *outer, tile_m=2.5, colour=np.full(3, 0.8 * light))
    bench.ribbon(Layer.ROAD, "asphalt", left, right, tile_m=9.0, colour=look.road_tint * light)
    for mark, offset in ((lane.left, half - 0.12), (lane.right, 0.12 - half)):
        _mark(bench, edges(lane.points, offset), mark, light)


def _mark(bench: Workbench, line: Float64[np.ndarray, "n 2"], mark: Mark, light: float) -> None:
    if mark == Mark.NONE:
        return
    colour = (YELLOW if mark == Mark.CENTRE else WHITE) * light
    if mark != Mark.DASHED:
        bench.ribbon(Layer.MARKS, "plain", edges(line, MARK_M / 2), edges(line, -MARK_M / 2), tile_m=9.0, colour=colour)
        return
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    starts = np.arange(0.0, along[-1] - DASH_M, DASH_M + GAP_M)
    ends = np.stack([starts, starts + DASH_M], 1)
    dash = np.stack([np.interp(ends, along, line[:, axis]) for axis in (0, 1)], -1)
    tangent = (dash[:, 1] - dash[:, 0]) / DASH_M
    side = np.stack([-tangent[:, 1], tangent[:, 0]], -1) * MARK_M / 2
    corners = np.stack([dash[:, 0] - side, dash[:, 1] - side, dash[:, 1] + side, dash[:, 0] + side], 1)
    corners = np.concatenate([corners, np.zeros((*corners.shape[:2], 1))], -1)
    bench.quads(Layer.MARKS, "plain", corners, np.zeros((len(corners), 4, 2)), np.tile(colour, (len(corners), 1)))


def _free_places(
    rng, centres: Float64[np.ndarray, "n 2"], count: int, clear_m: float, reach_m: float
) -> Float64[np.ndarray, "m 3"]:
    """Random x, y and heading of the nearest lane, at least clear_m and at most reach_m from every lane's centre."""
    nearest = rng.integers(len(centres), size=count)
    places = centres[nearest] + rng.uniform(-reach_m, reach_m, (count, 2))
    distance = np.sqrt(((places[:, None] - centres[None]) ** 2).sum(-1))
    closest = distance.argmin(1)
    tangent = centres[np.minimum(closest + 1, len(centres) - 1)] - centres[np.maximum(closest - 1, 0)]
    free = distance.min(1) > clear_m
    return np.concatenate([places, np.arctan2(tangent[:, 1], tangent[:, 0])[:, None]], -1)[free]


def _count(centres: Float64[np.ndarray, "n 2"], density: float, reach_m: float) -> int:
    """How many places to try, for a density per 100 m x 100 m, along centres about a metre or two apart."""
    extent = np.ptp(centres, axis=0).max() * 2 * reach_m
    return int(extent / 1e4 * density)


def _buildings(bench, rng, centres, half, look, density) -> None:
    reach = 60.0
    for x, y, heading in _free_places(rng, centres, _count(centres, density.buildings, reach), half + 13.0, reach):
        size = (rng.uniform(8, 18), rng.uniform(7, 13), rng.uniform(4, 20))
        colour = (
            np.array([0.95, 0.9, 0.82]) * rng.uniform(0.55, 1.0) * (1 + rng.uniform(-0.12, 0.12, 3)) * look.daylight
        )
        wall = f"wall{rng.integers(textures.WALLS)}"
        bench.box(
            wall, np.array([x, y, heading]), size, base_m=0.0, colour=colour, tile_m=float(rng.uniform(5, 8)), top=False
        )


def _trees(bench, rng, centres, half, look, density) -> None:
    reach = 45.0
    for x, y, heading in _free_places(rng, centres, _count(centres, density.trees, reach), half + 3.0, reach):
        height, spread = rng.uniform(3.5, 9.0), rng.uniform(1.6, 3.4)
        pose = np.array([x, y, rng.uniform(0, np.pi)])
        green = np.array([0.42, 0.62, 0.26]) * rng.uniform(0.6, 1.3) * (1 + rng.uniform(-0.2, 0.2, 3)) * look.daylight
        bench.box(
            "plain",
            pose,
            (0.3, 0.3, height * 0.4),
            base_m=0.0,
            colour=np.array([0.34, 0.25, 0.18]) * look.daylight,
            tile_m=1.0,
            top=False,
        )
        bench.box(
            "foliage", pose, (spread, spread, height * 0.5), base_m=height * 0.25, colour=green, tile_m=2.5, taper=-0.15
        )
        bench.box(
            "foliage",
            pose,
            (spread * 1.1, spread * 1.1, height * 0.35),
            base_m=height * 0.7,
            colour=1.1 * green,
            tile_m=2.5,
            taper=0.6,
        )


def _poles(bench, rng, lanes, centres, half, look, density) -> None:
    """Lamp posts and small striped posts at even distances along the lanes, wherever no other lane is in the way."""
    for lane in lanes:
        along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(lane.points, axis=0), axis=1))])
        for spacing, offset, width, height, colour in (
            (density.poles_m, half + 1.6, 0.22, 6.5, np.array([0.45, 0.46, 0.48])),
            (density.poles_m / 2.5, half + 0.9, 0.16, 0.95, np.array([0.95, 0.95, 0.95])),
        ):
            s = np.arange(rng.uniform(0, spacing), along[-1], spacing)
            line = edges(lane.points, -offset)
            for x, y in np.stack([np.interp(s, along, line[:, axis]) for axis in (0, 1)], -1):
                if np.sqrt(((centres - (x, y)) ** 2).sum(-1)).min() < half + 0.7:
                    continue
                bench.box(
                    "plain",
                    np.array([x, y, 0.0]),
                    (width, width, height),
                    base_m=0.0,
                    colour=colour * look.daylight,
                    tile_m=1.0,
                    top=False,
                )
                if height < 2:
                    bench.box(
                        "plain",
                        np.array([x, y, 0.0]),
                        (0.17, 0.17, 0.2),
                        base_m=0.6,
                        colour=np.array([0.9, 0.2, 0.1]) * look.daylight,
                        tile_m=1.0,
                        top=False,
                    )
