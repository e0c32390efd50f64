"""Which polygons of the map contain a point: exact answers in a few look-ups.

Square cells around the ego know which polygons contain their reference point, and which edges pass through them. Inside a cell without
edges that is the answer. Elsewhere the straight way from the reference point to the asked point is followed: each edge that it
crosses changes the answer of that edge's polygon. As in shapely, containment is strict: a point on a border is outside. Points
beyond the grid are compared with every edge.

A polygon is a bit of 63-bit words. Coordinates are metres from a whole-metre point near the ego, so that float64 loses nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int, Int64
from torch import Tensor

from latentdrive.pdms.scene import Polygons
from latentdrive.types import FROZEN, Batch

BITS = 63  # of a word; the sign stays free
REACH_M, CELL_M = 100.0, 1.0  # half side and cell size of the grid
SIDE = int(2 * REACH_M / CELL_M)
INSIDE = (0.4871, 0.5133)  # where the reference point lies in its cell: where road edges seldom are
PIECE = 0.9  # of a cell: an edge is cut into pieces so short that one touches 2 x 2 cells at most
TOUCH_M = 1e-6  # an edge this near to a cell passes through it
ON_EDGE = 1 << 20  # added to the count of crossings where the point lies on the edge


@dataclass(**FROZEN)
class PolygonGrid(Batch):
    """Polygons of B scenes, ready to be asked. corner: lower left of each grid. at_reference: words of the polygons that contain a
    cell's reference point. mixed: row in the tables of cells with edges, -1 where there are none. first, count: entries of such a cell;
    an entry is an edge and the slot of its polygon in the cell; slot_word, slot_bit: the polygon of each slot. edges: x, y of start and
    end; edge_scene, edge_word, edge_bit: whose it is."""

    corner: Float[Tensor, "B 2"]
    at_reference: Int64[Tensor, "cells words"]
    mixed: Int64[Tensor, "cells"]
    first: Int64[Tensor, "mixed"]
    count: Int64[Tensor, "mixed"]
    entry_edge: Int64[Tensor, "entries"]
    entry_slot: Int64[Tensor, "entries"]
    slot_word: Int64[Tensor, "mixed slots"]
    slot_bit: Int64[Tensor, "mixed slots"]
    edges: Float[Tensor, "edges 4"]
    edge_scene: Int64[Tensor, "edges"]
    edge_word: Int64[Tensor, "edges"]
    edge_bit: Int64[Tensor, "edges"]

    def containing(self, points: Float[Tensor, "n 2"], scene: Int64[Tensor, "n"]) -> Int64[Tensor, "n words"]:
        """Words of the polygons that contain each point."""
        cell = ((points - self.corner[scene]) / CELL_M).floor()
        beyond = ((cell < 0) | (cell >= SIDE)).any(-1)
        cell = cell.clamp(0, SIDE - 1).long()
        cell = (scene * SIDE + cell[:, 1]) * SIDE + cell[:, 0]
        words = self.at_reference[cell]
        row = self.mixed[cell]
        asked = torch.nonzero((row >= 0) & ~beyond)[:, 0]
        if len(asked):
            words[asked] = self._walk(points[asked], cell[asked], row[asked], words[asked])
        outside = torch.nonzero(beyond)[:, 0]
        if len(outside):
            words[outside] = self.containing_by_edges(points[outside], scene[outside])
        return words

    def containing_by_edges(self, points: Float[Tensor, "n 2"], scene: Int64[Tensor, "n"]) -> Int64[Tensor, "n words"]:
        """The same by comparing each point with every edge of its scene; slow, for points beyond the grid, and to check the grid."""
        words = self.at_reference.new_zeros(len(points), self.at_reference.shape[1])
        for one in scene.unique().tolist():
            rows = torch.nonzero(scene == one)[:, 0]
            mine = torch.nonzero(self.edge_scene == one)[:, 0]
            if not len(mine):
                continue
            polygon, number = (self.edge_word[mine] * BITS + self.edge_bit[mine]).unique(return_inverse=True)
            for some in rows.split(256):
                q, a, b = points[some, None], self.edges[mine, :2], self.edges[mine, 2:]
                turn = _cross(b - a, q - a)
                crosses = ((a[:, 1] <= q[..., 1]) != (b[:, 1] <= q[..., 1])) & ((turn > 0) == (b[:, 1] > a[:, 1]))
                hits = crosses.long() + ON_EDGE * _on_edge(turn, q, a, b)
                counts = hits.new_zeros(len(some), len(polygon)).index_add_(1, number, hits)
                inside = (counts % 2 == 1) & (counts < ON_EDGE)
                for word in range(words.shape[1]):
                    bits = torch.where(polygon // BITS == word, 1 << (polygon % BITS), 0)
                    words[some, word] = (inside * bits).sum(-1)
        return words

    def _walk(
        self,
        points: Float[Tensor, "q 2"],
        cell: Int64[Tensor, "q"],
        row: Int64[Tensor, "q"],
        words: Int64[Tensor, "q w"],
    ) -> Int64[Tensor, "q w"]:
        count = self.count[row]
        which = torch.repeat_interleave(count)
        entry = (
            self.first[row][which] + torch.arange(len(which), device=which.device) - (count.cumsum(0) - count)[which]
        )
        edge, slots = self.edges[self.entry_edge[entry]], self.slot_bit.shape[1]
        a, b = edge[:, :2], edge[:, 2:]
        place = torch.stack([cell % SIDE, cell // SIDE % SIDE], -1)
        start = self.corner[cell // SIDE**2] + (place + place.new_tensor(INSIDE, dtype=points.dtype)) * CELL_M
        q, r = points[which], start[which]
        way, along = q - r, b - a
        turn = _cross(along, q - a)
        crosses = (_cross(way, a - r) >= 0) != (_cross(way, b - r) >= 0)
        crosses &= (turn > 0) != (_cross(along, r - a) > 0)
        hits = crosses.long() + ON_EDGE * _on_edge(turn, q, a, b)
        counts = hits.new_zeros(len(points) * slots).index_add_(0, which * slots + self.entry_slot[entry], hits)
        counts = counts.view(-1, slots)
        bits, word = torch.where(counts % 2 == 1, self.slot_bit[row], 0), self.slot_word[row]
        border = torch.where(counts >= ON_EDGE, self.slot_bit[row], 0)
        changed = [((bits * (word == one)).sum(-1), (border * (word == one)).sum(-1)) for one in range(words.shape[1])]
        return torch.stack([(words[:, k] ^ flip) & ~edge for k, (flip, edge) in enumerate(changed)], -1)


def polygon_grid(
    polygons: Sequence[Polygons],
    origins: Sequence[Float64[np.ndarray, "2"]],
    centres: Sequence[Float64[np.ndarray, "2"]],
) -> PolygonGrid:
    """The grid of several scenes. origins: whole-metre points that coordinates count from; centres: of the grids, global."""
    parts = [_one(one, origin, centre - origin) for one, origin, centre in zip(polygons, origins, centres)]
    words = max((part["at_reference"].shape[1] for part in parts), default=1)
    slots = max((part["slot_bit"].shape[1] for part in parts), default=1)
    tables = {key: [] for key in parts[0]}
    edges, entries, mixed = 0, 0, 0
    for scene, part in enumerate(parts):
        part["at_reference"] = _pad(part["at_reference"], words)
        part["slot_word"], part["slot_bit"] = _pad(part["slot_word"], slots), _pad(part["slot_bit"], slots)
        part["mixed"] = np.where(part["mixed"] >= 0, part["mixed"] + mixed, -1)
        part["first"], part["entry_edge"] = part["first"] + entries, part["entry_edge"] + edges
        part["edge_scene"] = np.full(len(part["edges"]), scene)
        edges, entries, mixed = (
            edges + len(part["edges"]),
            entries + len(part["entry_edge"]),
            mixed + len(part["first"]),
        )
        for key, values in part.items():
            tables[key].append(values)
    joined = {key: torch.from_numpy(np.concatenate(values)) for key, values in tables.items()}
    return PolygonGrid(**joined)


def _one(
    polygons: Polygons, origin: Float64[np.ndarray, "2"], centre: Float64[np.ndarray, "2"]
) -> dict[str, np.ndarray]:
    edges, owner = _edges(polygons, origin)
    corner = centre - REACH_M
    words = int(owner.max() // BITS + 1) if len(owner) else 1
    cell, edge = _touched(edges, corner)
    starts = np.flatnonzero(np.diff(cell, prepend=-1))
    changes = (np.diff(cell, prepend=-1) != 0) | (np.diff(owner[edge], prepend=-1) != 0)
    rank = np.cumsum(changes) - 1
    slot = rank - rank[starts][np.cumsum(np.diff(cell, prepend=-1) != 0) - 1]
    mixed = np.full(SIDE * SIDE, -1, np.int64)
    mixed[cell[starts]] = np.arange(len(starts))
    slots = int(slot.max()) + 1 if len(slot) else 1
    bits, word = np.zeros((len(starts), slots), np.int64), np.zeros((len(starts), slots), np.int64)
    bits[mixed[cell], slot] = np.int64(1) << (owner[edge] % BITS)
    word[mixed[cell], slot] = owner[edge] // BITS
    return {
        "corner": corner[None], "at_reference": _at_reference(edges, owner, corner, words), "mixed": mixed, "first": starts,
        "count": np.diff(np.append(starts, len(cell))), "entry_edge": edge, "entry_slot": slot, "slot_word": word,
        "slot_bit": bits, "edges": edges, "edge_scene": np.zeros(len(edges), np.int64), "edge_word": owner // BITS,
        "edge_bit": owner % BITS,
    }  # fmt: skip


def _edges(
    polygons: Polygons, origin: Float64[np.ndarray, "2"]
) -> tuple[Float64[np.ndarray, "E 4"], Int[np.ndarray, "E"]]:
    """Every ring as edges, in order of their polygons; edges of no length are left out."""
    points, sizes = polygons.vertices - origin, np.diff(polygons.ends)
    after = np.arange(len(points)) + 1
    after[polygons.ends[1:] - 1] = polygons.ends[:-1]
    edges, owner = np.concatenate([points, points[after]], 1), np.repeat(polygons.owner.astype(np.int64), sizes)
    kept = (edges[:, :2] != edges[:, 2:]).any(1)
    order = np.argsort(owner[kept], kind="stable")
    return edges[kept][order], owner[kept][order]


def _touched(edges: Float64[np.ndarray, "E 4"], corner: Float64[np.ndarray, "2"]) -> tuple[np.ndarray, np.ndarray]:
    """Cells and the edges that pass through them, sorted by cell, then edge; a few more than need be."""
    start, along = (edges[:, :2] - corner) / CELL_M, (edges[:, 2:] - edges[:, :2]) / CELL_M
    near = ((np.minimum(start, start + along) < SIDE) & (np.maximum(start, start + along) >= 0)).all(1)
    which = np.flatnonzero(near)
    pieces = np.ceil(np.hypot(*along[which].T) / PIECE).astype(np.int64)
    edge = np.repeat(which, pieces)
    step = np.arange(len(edge)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    share = 1.0 / np.repeat(pieces, pieces)
    one = start[edge] + along[edge] * (step * share)[:, None]
    two = one + along[edge] * share[:, None]
    low = np.floor(np.minimum(one, two) - TOUCH_M / CELL_M).astype(np.int64)
    high = np.floor(np.maximum(one, two) + TOUCH_M / CELL_M).astype(np.int64)
    x = np.stack([low[:, 0], high[:, 0], low[:, 0], high[:, 0]])
    y = np.stack([low[:, 1], low[:, 1], high[:, 1], high[:, 1]])
    inside = (x >= 0) & (x < SIDE) & (y >= 0) & (y < SIDE)
    key = ((y * SIDE + x) * len(edges) + edge)[inside]
    key = np.unique(key)
    return key // max(len(edges), 1), key % max(len(edges), 1)


def _at_reference(
    edges: Float64[np.ndarray, "E 4"], owner: Int[np.ndarray, "E"], corner: Float64[np.ndarray, "2"], words: int
) -> Int64[np.ndarray, "cells words"]:
    """Row by row: an edge that crosses the row's line of reference points flips its polygon for every cell to its right."""
    x1, y1, x2, y2 = ((edges - np.tile(corner, 2)) / CELL_M).T
    low, high = (np.ceil(f(y1, y2) - INSIDE[1]).clip(0, SIDE).astype(np.int64) for f in (np.minimum, np.maximum))
    edge = np.repeat(np.arange(len(edges)), high - low)
    row = np.arange(len(edge)) - np.repeat(np.cumsum(high - low) - (high - low), high - low) + low[edge]
    share = (row + INSIDE[1] - y1[edge]) / (y2 - y1)[edge]
    column = np.ceil(x1[edge] + share * (x2 - x1)[edge] - INSIDE[0]).clip(0, SIDE).astype(np.int64)
    flips = np.zeros((words, SIDE, SIDE + 1), np.int64)
    np.bitwise_xor.at(flips, (owner[edge] // BITS, row, column), np.int64(1) << (owner[edge] % BITS))
    found = np.bitwise_xor.accumulate(flips, axis=2)[:, :, :SIDE]
    return np.ascontiguousarray(found.reshape(words, -1).T)


def _pad(table: np.ndarray, width: int) -> np.ndarray:
    return np.pad(table, ((0, 0), (0, width - table.shape[1])))


def _cross(a: Float[Tensor, "*n 2"], b: Float[Tensor, "*n 2"]) -> Float[Tensor, "*n"]:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def _on_edge(
    turn: Float[Tensor, "*n"], q: Float[Tensor, "*m 2"], a: Float[Tensor, "*k 2"], b: Float[Tensor, "*l 2"]
) -> Bool[Tensor, "*n"]:
    return (turn == 0) & ((q >= torch.minimum(a, b)) & (q <= torch.maximum(a, b))).all(-1)
