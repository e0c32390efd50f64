"""Several scenes stacked as tensors: the form in which the sub-scores read them.

Geometry is relative to a whole-metre point near each ego (`origin`). UTM coordinates have too many
digits for fast arithmetic in float64 and far too many for float32, and subtracting whole metres
loses none of them. The simulation itself runs in global coordinates, as in the devkit, because its
last bits decide some collinear cases (docs/pdms.md, section 11, trap 4).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from latentdrive.boxes import CORNERS, ego_centre
from latentdrive.pdms.map.grid_building import line_grid, polygon_grid
from latentdrive.pdms.map.grids import BITS, Group, LineGrid, PolygonGrid
from latentdrive.pdms.scene import AGENTS, DRIVABLE, HEADING, LAYERS, STEPS, RedLights, ScoringScene, Tracks
from latentdrive.types import FROZEN, Batch

LANES = ("LANE", "LANE_CONNECTOR")
LANE_OFFSET_M = 0.5  # distance from the centreline that lane keeping allows
# A track that is no faster than this when first seen counts as standing; an ego that is no faster is never at fault.
STANDS_MPS = 0.05


@dataclass(**FROZEN)
class MapBatch(Batch):
    """Areas and centrelines of B scenes.

    drivable, on_route, intersections: groups of the grid's polygons. lanes: bits of all lanes, as
    words. centreline: which points lie near it. points, steps, along: starts, vectors and arc
    lengths of the centreline's segments, padded. used: False in the padding.
    """

    grid: PolygonGrid
    drivable: Group
    on_route: Group
    intersections: Group
    lanes: Int64[Tensor, "B words"]
    centreline: LineGrid
    points: Float[Tensor, "B n 2"]
    steps: Float[Tensor, "B n 2"]
    along: Float[Tensor, "B n"]
    used: Bool[Tensor, "B n"]


@dataclass(**FROZEN)
class TrackBatch(Batch):
    """Other road users of B scenes over S steps, padded to N.

    centre, cos, sin: of their boxes. middle: the centre again, rounded as in the devkit
    (docs/pdms.md, section 11, trap 4). half: half lengths and widths. stands: static, or slow when
    first seen. agent: vehicle, pedestrian or bicycle.
    """

    centre: Float[Tensor, "B S N 2"]
    middle: Float[Tensor, "B S N 2"]
    cos: Float[Tensor, "B S N"]
    sin: Float[Tensor, "B S N"]
    present: Bool[Tensor, "B S N"]
    half: Float[Tensor, "B N 2"]
    stands: Bool[Tensor, "B N"]
    agent: Bool[Tensor, "B N"]


@dataclass(**FROZEN)
class LightBatch(Batch):
    """Red connectors of all scenes, as one list of L polygons.

    scene: whose they are. red: at which of the 41 steps. edges: of the polygons, padded with edges
    of no length. centre, radius: of a circle around each.
    """

    scene: Int64[Tensor, "L"]
    red: Bool[Tensor, "L T"]
    edges: Float[Tensor, "L e 4"]
    centre: Float[Tensor, "L 2"]
    radius: Float[Tensor, "L"]


@dataclass(**FROZEN)
class SceneTensors(Batch):
    """B scenes. Quantities called global are not relative to `origin`.

    origin: whole-metre points near the egos. start: state now, global. history: ego states before
    now, 0.1 s apart, global; the last `history_rows` rows count. reference_m: PDM-Closed's raw
    progress times its multiplicative sub-scores. human: sub-scores of the human driver, in the
    order of V2.columns without the last; NaN where nothing is filtered.
    """

    origin: Float[Tensor, "B 2"]
    start: Float[Tensor, "B 11"]
    history: Float[Tensor, "B h 11"]
    history_rows: Int64[Tensor, "B"]
    reference_m: Float[Tensor, "B"]
    human: Float[Tensor, "B 8"]
    map: MapBatch
    tracks: TrackBatch
    lights: LightBatch

    def __len__(self) -> int:
        return len(self.origin)


def stack(scenes: Sequence[ScoringScene]) -> SceneTensors:
    """Scenes of one generation as tensors, float64, on the CPU."""
    origins = [np.round(scene.ego[:2]) for scene in scenes]
    return SceneTensors(
        origin=_tensor(np.stack(origins)),
        start=_tensor(np.stack([scene.ego for scene in scenes])),
        history=_tensor(_padded([scene.history[::-1] for scene in scenes])[:, ::-1]),
        history_rows=_tensor(np.array([len(scene.history) for scene in scenes])),
        reference_m=_tensor(np.array([scene.reference_progress_m * scene.reference_product for scene in scenes])),
        human=_tensor(np.stack([_human(scene) for scene in scenes])),
        map=_map(scenes, origins),
        tracks=_tracks([scene.tracks for scene in scenes], origins),
        lights=_lights([scene.lights for scene in scenes], origins),
    )


def with_traffic(scene: SceneTensors, tracks: Tracks, lights: RedLights) -> SceneTensors:
    """A single scene with other road users and lights, such as PDM-Closed's forecast in place of the log."""
    origins = [scene.origin[0].numpy()]
    return replace(scene, tracks=_tracks([tracks], origins), lights=_lights([lights], origins))


def _human(scene: ScoringScene) -> np.ndarray:
    return np.full(8, np.nan) if scene.human_terms is None else scene.human_terms


def _map(scenes: Sequence[ScoringScene], origins: Sequence[np.ndarray]) -> MapBatch:
    centres = [ego_centre(scene.ego[: HEADING + 1])[:2] for scene in scenes]
    grid = polygon_grid([scene.areas.polygons for scene in scenes], origins, centres)
    words = grid.at_reference.shape[1]
    kinds = {"drivable": DRIVABLE, "lanes": LANES, "intersections": ("INTERSECTION",)}
    masks = {
        kind: [np.isin(scene.areas.layers, [LAYERS.index(name) for name in names]) for scene in scenes]
        for kind, names in kinds.items()
    } | {"on_route": [scene.areas.on_route for scene in scenes]}
    masks = {
        kind: _tensor(np.stack([_words(chosen, words) for chosen in by_scene])) for kind, by_scene in masks.items()
    }
    lines = [scene.centreline[:, :2] - origin for scene, origin in zip(scenes, origins)]
    steps = [np.diff(line, axis=0) for line in lines]
    along = [np.concatenate([[0.0], np.cumsum(np.hypot(*step.T))])[:-1] for step in steps]
    return MapBatch(
        grid=grid,
        lanes=masks.pop("lanes"),
        **grid.groups(masks),
        centreline=line_grid(lines, list(grid.corner.numpy()), LANE_OFFSET_M),
        points=_tensor(_padded([line[:-1] for line in lines])),
        steps=_tensor(_padded(steps)),
        along=_tensor(_padded(along)),
        used=_tensor(_padded([np.ones(len(step), bool) for step in steps])),
    )


def _tracks(by_scene: Sequence[Tracks], origins: Sequence[np.ndarray]) -> TrackBatch:
    agent = [np.array([name in AGENTS for name in tracks.names], bool) for tracks in by_scene]
    speed = [np.hypot(*tracks.first_velocity.T) for tracks in by_scene]
    near = [
        np.where(tracks.present[..., None], tracks.poses - np.append(origin, 0.0), 0.0)
        for tracks, origin in zip(by_scene, origins)
    ]
    heading = _padded([poses[..., 2] for poses in near], axis=1)
    return TrackBatch(
        centre=_tensor(_padded([poses[..., :2] for poses in near], axis=1)),
        middle=_tensor(_padded([_middle(tracks) - origin for tracks, origin in zip(by_scene, origins)], axis=1)),
        cos=_tensor(np.cos(heading)),
        sin=_tensor(np.sin(heading)),
        present=_tensor(_padded([tracks.present for tracks in by_scene], axis=1)),
        half=_tensor(_padded([tracks.sizes / 2 for tracks in by_scene])),
        stands=_tensor(_padded([~is_agent | (v <= STANDS_MPS) for is_agent, v in zip(agent, speed)])),
        agent=_tensor(_padded(agent)),
    )


def _middle(tracks: Tracks) -> np.ndarray:
    """Centres of all boxes as GEOS rounds the centroid of a polygon.

    GEOS adds up triangles that start at the first corner, in global coordinates. The corners are
    those of the devkit too, from the sine and cosine of heading + pi / 2; those of boxes.py would
    differ in the last bit, which decides bearings (docs/pdms.md, section 11, trap 4).
    """
    x, y, heading = np.moveaxis(tracks.poses, -1, 0)
    half_length, half_width = tracks.sizes.T / 2
    across = heading + np.pi / 2
    ways = (np.cos(across), np.cos(heading)), (np.sin(across), np.sin(heading))
    corners = [
        [at + (left * half_width * w + ahead * half_length * a) for at, (w, a) in zip((x, y), ways)]
        for ahead, left in CORNERS
    ]
    (x0, y0), sums = corners[0], [0.0, 0.0, 0.0]
    for (x1, y1), (x2, y2) in zip(corners, [*corners[1:], corners[0]]):
        area = -((x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0))
        sums = [sums[0] + area * (x0 + x1 + x2), sums[1] + area * (y0 + y1 + y2), sums[2] + area]
    return np.stack([sums[0] / 3 / sums[2], sums[1] / 3 / sums[2]], -1)


def _lights(by_scene: Sequence[RedLights], origins: Sequence[np.ndarray]) -> LightBatch:
    rows = []
    for number, (lights, origin) in enumerate(zip(by_scene, origins)):
        polygons = lights.polygons
        for light in np.flatnonzero(lights.red.any(0)):
            edges = []
            for ring in np.flatnonzero(polygons.owner == light):
                points = polygons.vertices[polygons.ends[ring] : polygons.ends[ring + 1]] - origin
                edges.append(np.concatenate([points, np.roll(points, -1, axis=0)], 1))
            rows.append((number, lights.red[:, light], np.concatenate(edges)))
    longest = max((len(edges) for _, _, edges in rows), default=1)
    edges = [np.concatenate([own, np.tile(own[-1:, 2:], (longest - len(own), 2))]) for *_, own in rows]
    edges = np.stack(edges) if rows else np.zeros((0, 1, 4))
    low, high = edges[..., :2].min(1), edges[..., :2].max(1)
    return LightBatch(
        scene=torch.tensor([number for number, *_ in rows], dtype=torch.long),
        red=_tensor(np.array([red for _, red, _ in rows], bool).reshape(len(rows), STEPS)),
        edges=_tensor(edges),
        centre=_tensor((low + high) / 2),
        radius=_tensor(np.hypot(*(high - low).T) / 2),
    )


def _words(chosen: np.ndarray, words: int) -> np.ndarray:
    """Chosen polygons as bits of 63-bit words."""
    out = np.zeros(words, np.int64)
    numbers = np.flatnonzero(chosen)
    np.bitwise_or.at(out, numbers // BITS, np.int64(1) << (numbers % BITS))
    return out


def _padded(arrays: Sequence[np.ndarray], axis: int = 0) -> np.ndarray:
    """Arrays of different lengths along one axis, padded with zeros and stacked."""
    longest = max(array.shape[axis] for array in arrays)
    pads = [[(0, longest - array.shape[axis] if k == axis else 0) for k in range(array.ndim)] for array in arrays]
    return np.stack([np.pad(array, pad) for array, pad in zip(arrays, pads)])


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))
