"""Scenery as meshes: roads, markings, ground, and randomly placed buildings, trees and poles around given lanes.

It is dense enough that motion is visible in every part of a picture. cameras.py renders the meshes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from jaxtyping import Float64

from latentdrive.types import FROZEN
from latentdrive.world.rendering import textures
from latentdrive.world.rendering.meshes import Layer, Workbench
from latentdrive.world.traffic.recording import Lane, Mark

MARK_M, DASH_M, GAP_M = 0.16, 3.0, 4.5  # width of a line, length of a dash, gap between dashes
ZEBRA_M = 1.0  # from one bar of a crosswalk to the next
KERB_M = 0.5  # visible width of the kerb beside the outermost lane
MARGIN_M = 130.0  # ground beyond the lanes
PLASTER, LEAVES, BARK = np.array([0.95, 0.9, 0.82]), np.array([0.42, 0.62, 0.26]), np.array([0.34, 0.25, 0.18])
STEEL, RED = np.array([0.45, 0.46, 0.48]), np.array([0.9, 0.2, 0.1])
POST_M, MARKER_M, BAND_M = (0.22, 0.22, 6.5), (0.16, 0.16, 0.95), (0.17, 0.17, 0.2)
WHITE, YELLOW = np.array([0.95, 0.95, 0.93]), np.array([0.95, 0.75, 0.2])
Line = Float64[np.ndarray, "_ 2"]


class Surface(StrEnum):
    """The kinds of flat areas beside the lanes."""

    JUNCTION = "junction"
    CROSSWALK = "crosswalk"
    WALKWAY = "walkway"
    PAVED = "paved"  # a stretch of road with its shoulders; the ring begins with its left side


@dataclass(**FROZEN)
class Density:
    """The density of scenery. buildings, trees: number on 100 m x 100 m of free ground. poles_m:
    distance between poles.
    """

    buildings: float
    trees: float
    poles_m: float


@dataclass(**FROZEN)
class Look:
    """The appearance of a drive.

    sky, ground: names of textures. daylight: brightness in [0.5, 1]. ground_tint, road_tint:
    colours that darken textures. seed: of the placement of buildings, trees and poles.
    """

    sky: str
    ground: str
    daylight: float
    ground_tint: Float64[np.ndarray, "3"]
    road_tint: Float64[np.ndarray, "3"]
    seed: int


def random_look(rng: np.random.Generator) -> Look:
    """Draw the weather, ground and road surface of a drive."""
    green, dry = np.array([0.62, 0.78, 0.42]), np.array([0.85, 0.74, 0.52])
    share = rng.random()
    return Look(
        sky=f"sky{rng.integers(textures.SKIES)}",
        ground=f"ground{rng.integers(textures.GROUNDS)}",
        daylight=float(rng.uniform(0.65, 1.0)),
        ground_tint=green + (dry - green) * share,
        road_tint=np.full(3, rng.uniform(0.42, 0.72)) * (1 + rng.uniform(-0.04, 0.04, 3)),
        seed=int(rng.integers(2**31)),
    )


def surroundings(
    lanes: tuple[Lane, ...],
    look: Look,
    density: Density,
    areas: Mapping[Surface, Sequence[Float64[np.ndarray, "_ 2"]]] | None = None,
    shoulder_m: float = 0.0,
) -> Workbench:
    """Build everything that stands still.

    areas: rings of flat areas by kind. shoulder_m: width of the shoulders; buildings, trees and
    poles keep off them.
    """
    rng = np.random.default_rng(look.seed)
    bench = Workbench()
    _ground(bench, lanes, look)
    for lane in lanes:
        _road(bench, lane, look)
    for surface, rings in (areas or {}).items():
        for ring in rings:
            _flat(bench, surface, ring, look)
    centres = np.concatenate([lane.points for lane in lanes])
    half = max(lane.width_m for lane in lanes) / 2 + shoulder_m
    _buildings(bench, rng, centres[::4], half, look, density)
    _trees(bench, rng, centres[::4], half, look, density)
    _poles(bench, rng, lanes, centres, half, look, density)
    return bench


def edges(points: Float64[np.ndarray, "n 2"], offset_m: float) -> Float64[np.ndarray, "n 2"]:
    """Return the polyline shifted to its left by offset_m."""
    tangent = np.gradient(points, axis=0)
    normal = np.stack([-tangent[:, 1], tangent[:, 0]], -1) / np.linalg.norm(tangent, axis=1, keepdims=True)
    return points + offset_m * normal


def _ground(bench: Workbench, lanes: tuple[Lane, ...], look: Look) -> None:
    """Add the ground as a grid of tiles, because the renderer clips large ones badly."""
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
    """Add a lane with its kerb and its markings."""
    half, light = lane.width_m / 2, look.daylight
    left, right = edges(lane.points, half), edges(lane.points, -half)
    _pave(bench, left, right, edges(lane.points, half + KERB_M), edges(lane.points, -half - KERB_M), look)
    for mark, offset in ((lane.left, half - 0.12), (lane.right, 0.12 - half)):
        _mark(bench, edges(lane.points, offset), mark, light)


def _pave(bench: Workbench, left: Line, right: Line, kerb_left: Line, kerb_right: Line, look: Look) -> None:
    """Add a strip of asphalt, and the wider kerb below it."""
    light = look.daylight
    bench.ribbon(Layer.KERB, "kerb", kerb_left, kerb_right, tile_m=2.5, colour=np.full(3, 0.8 * light))
    bench.ribbon(Layer.ROAD, "asphalt", left, right, tile_m=9.0, colour=look.road_tint * light)


def _flat(bench: Workbench, surface: Surface, ring: Line, look: Look) -> None:
    """Add a flat area beside the lanes."""
    light = look.daylight
    if surface == Surface.JUNCTION:
        bench.patch(Layer.ROAD, "asphalt", ring, tile_m=9.0, colour=look.road_tint * light)
    elif surface == Surface.PAVED:
        half = len(ring) // 2
        left, right = ring[:half], ring[half:][::-1]
        _pave(bench, left, right, edges(left, KERB_M), edges(right, -KERB_M), look)
    elif surface == Surface.WALKWAY:
        half = len(ring) // 2
        bench.ribbon(Layer.GROUND, "kerb", ring[:half], ring[half:][::-1], tile_m=2.5, colour=np.full(3, 0.62 * light))
    else:  # a crosswalk: bars along the road, from its right edge to its left edge
        count = max(2, round(float(np.linalg.norm(ring[3] - ring[0])) / ZEBRA_M))
        share = np.arange(count)[:, None] / count + np.array([0.0, 0.5 / count])
        near, far = (a + share[..., None] * (b - a) for a, b in ((ring[0], ring[3]), (ring[1], ring[2])))
        corners = np.stack([near[:, 0], far[:, 0], far[:, 1], near[:, 1]], 1)
        corners = np.concatenate([corners, np.zeros((*corners.shape[:2], 1))], -1)
        bench.quads(Layer.MARKS, "plain", corners, np.zeros((count, 4, 2)), np.tile(WHITE * light, (count, 1)))


def _mark(bench: Workbench, line: Float64[np.ndarray, "n 2"], mark: Mark, light: float) -> None:
    """Add a painted line along `line`."""
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
    """Draw places within reach_m of a lane's centre and at least clear_m from all: x, y, heading of
    the nearest lane.
    """
    nearest = rng.integers(len(centres), size=count)
    places = centres[nearest] + rng.uniform(-reach_m, reach_m, (count, 2))
    distance = np.sqrt(((places[:, None] - centres[None]) ** 2).sum(-1))
    closest = distance.argmin(1)
    tangent = centres[np.minimum(closest + 1, len(centres) - 1)] - centres[np.maximum(closest - 1, 0)]
    free = distance.min(1) > clear_m
    return np.concatenate([places, np.arctan2(tangent[:, 1], tangent[:, 0])[:, None]], -1)[free]


def _count(centres: Float64[np.ndarray, "n 2"], density: float, reach_m: float) -> int:
    """Number of places to try for a density per 100 m x 100 m. centres: of the lanes."""
    extent = np.ptp(centres, axis=0).max() * 2 * reach_m
    return int(extent / 1e4 * density)


def _buildings(bench, rng, centres, half, look, density) -> None:
    """Add buildings with different walls."""
    reach = 60.0
    poses = _free_places(rng, centres, _count(centres, density.buildings, reach), half + 13.0, reach)
    count = len(poses)
    sizes = rng.uniform((8.0, 7.0, 4.0), (18.0, 13.0, 20.0), (count, 3))
    shades = rng.uniform(0.55, 1.0, (count, 1)) * (1 + rng.uniform(-0.12, 0.12, (count, 3)))
    colours, tile, wall = (
        PLASTER * shades * look.daylight,
        rng.uniform(5, 8, count),
        rng.integers(textures.WALLS, size=count),
    )
    for number in np.unique(wall):
        rows = wall == number
        bench.boxes(
            f"wall{number}", poses[rows], sizes[rows], base_m=0.0, colours=colours[rows], tile_m=tile[rows], top=False
        )


def _trees(bench, rng, centres, half, look, density) -> None:
    """Add trees: a trunk, a crown that widens upwards, and a tip that narrows."""
    reach = 45.0
    poses = _free_places(rng, centres, _count(centres, density.trees, reach), half + 3.0, reach)
    count = len(poses)
    poses[:, 2] = rng.uniform(0, np.pi, count)
    height, spread = rng.uniform(3.5, 9.0, count), rng.uniform(1.6, 3.4, count)
    green = LEAVES * rng.uniform(0.6, 1.3, (count, 1)) * (1 + rng.uniform(-0.2, 0.2, (count, 3))) * look.daylight
    trunk = np.stack([np.full(count, 0.3), np.full(count, 0.3), 0.4 * height], -1)
    crown, tip = np.stack([spread, spread, 0.5 * height], -1), np.stack([1.1 * spread, 1.1 * spread, 0.35 * height], -1)
    bench.boxes(
        "plain", poses, trunk, base_m=0.0, colours=np.tile(BARK * look.daylight, (count, 1)), tile_m=1.0, top=False
    )
    bench.boxes("foliage", poses, crown, base_m=0.25 * height, colours=green, tile_m=2.5, taper=-0.15)
    bench.boxes("foliage", poses, tip, base_m=0.7 * height, colours=1.1 * green, tile_m=2.5, taper=0.6)


def _poles(bench, rng, lanes, centres, half, look, density) -> None:
    """Add lamp posts, and small posts with a red band, beside the lanes where no other lane is in the way."""
    for lane in lanes:
        _posts(bench, rng, lane, centres, density.poles_m, half + 1.6, POST_M, STEEL * look.daylight)
        small = _posts(bench, rng, lane, centres, density.poles_m / 2.5, half + 0.9, MARKER_M, WHITE * look.daylight)
        bands = np.tile(BAND_M, (len(small), 1))
        bench.boxes(
            "plain",
            small,
            bands,
            base_m=0.6,
            colours=np.tile(RED * look.daylight, (len(small), 1)),
            tile_m=1.0,
            top=False,
        )


def _posts(
    bench,
    rng,
    lane: Lane,
    centres: Float64[np.ndarray, "n 2"],
    spacing: float,
    offset: float,
    size: tuple[float, float, float],
    colour: Float64[np.ndarray, "3"],
) -> Float64[np.ndarray, "m 3"]:
    """Add posts `offset` metres to the right of a lane's centre line; return their poses."""
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(lane.points, axis=0), axis=1))])
    s, line = np.arange(rng.uniform(0, spacing), along[-1], spacing), edges(lane.points, -offset)
    places = np.stack([np.interp(s, along, line[:, 0]), np.interp(s, along, line[:, 1]), np.zeros(len(s))], -1)
    distance = np.sqrt(((places[:, None, :2] - centres[None]) ** 2).sum(-1)).min(1, initial=np.inf)
    places = places[distance > lane.width_m / 2 + 0.7]
    colours = np.tile(colour, (len(places), 1))
    bench.boxes("plain", places, np.tile(size, (len(places), 1)), base_m=0.0, colours=colours, tile_m=1.0, top=False)
    return places
