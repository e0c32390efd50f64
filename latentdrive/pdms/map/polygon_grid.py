"""Which polygons of the map contain a point: exact answers in a few look-ups.

Square cells around the ego know which polygons contain their reference point, and which edges pass through them. Inside a cell without
edges that is the answer. Elsewhere the straight way from the reference point to the asked point is followed: each edge that it
crosses changes the answer of that edge's polygon. As in shapely, containment is strict: a point on a border is outside. Points
beyond the grid are compared with every edge.

Most questions are about any polygon of a group (is this corner on a drivable area?). A group knows for every cell whether all of it lies in
one of its polygons or none of it does; only where neither holds are the edges of its own polygons followed.

A polygon is a bit of 63-bit words. Coordinates are metres from a whole-metre point near the ego, so that float64 loses nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int, Int8, Int64
from torch import Tensor

from latentdrive.pdms.scene import FETCH_M, Polygons
from latentdrive.types import FROZEN, Batch

BITS = 63  # of a word; the sign stays free
CELL_M = 1.0  # of the grid, which covers the square that areas are fetched in
SIDE = int(2 * FETCH_M / CELL_M)
# Where the reference point lies in its cell: where road edges seldom are, and in binary fractions, so that differences stay exact.
INSIDE = (499 / 1024, 526 / 1024)
PIECE = 0.9  # of a cell: an edge is cut into pieces so short that one touches 2 x 2 cells at most
TOUCH_M = 1e-6  # an edge this near to a cell passes through it
ON_EDGE = 1 << 20  # added to the count of crossings where the point lies on the edge
NONE, ALL, ASK = 0, 1, 2  # what a group knows of a cell


@dataclass(**FROZEN)
class Entries(Batch):
    """Edges by rows of cells with edges. first, count: entries of a row. edge: x, y of start and end, as seen from the cell's reference point;
    left: whether that point lies to its left; slot: of its polygon, among those of the row. inside: whether the polygon of each slot
    contains the reference point."""

    first: Int64[Tensor, "rows"]
    count: Int64[Tensor, "rows"]
    edge: Float[Tensor, "entries 4"]
    left: Bool[Tensor, "entries"]
    slot: Int64[Tensor, "entries"]
    inside: Bool[Tensor, "rows slots"]


@dataclass(**FROZEN)
class Group(Batch):
    """Some of the polygons. mask: their words, by scene; state: NONE, ALL or ASK, by cell; entries: their edges."""

    mask: Int64[Tensor, "B words"]
    state: Int8[Tensor, "cells"]
    entries: Entries


class Located(NamedTuple):
    """Points of all scenes, one behind another, the cells that they lie in, and which of them lie beyond the grid."""

    x: Float[Tensor, "n"]
    y: Float[Tensor, "n"]
    cell: Int64[Tensor, "n"]
    far: Int64[Tensor, "f"]
    scenes: int


@dataclass(**FROZEN)
class PolygonGrid(Batch):
    """Polygons of B scenes, ready to be asked. corner: lower left of each grid. at_reference: words of the polygons that contain a
    cell's reference point. row: of a cell with edges, -1 where there are none. entries: all edges, by row; slot_word, slot_bit: the
    polygon of each slot. edges: x, y of start and end of all edges; edge_scene, edge_word, edge_bit: whose it is."""

    corner: Float[Tensor, "B 2"]
    at_reference: Int64[Tensor, "cells words"]
    row: Int64[Tensor, "cells"]
    entries: Entries
    slot_word: Int64[Tensor, "rows slots"]
    slot_bit: Int64[Tensor, "rows slots"]
    edges: Float[Tensor, "edges 4"]
    edge_scene: Int64[Tensor, "edges"]
    edge_word: Int64[Tensor, "edges"]
    edge_bit: Int64[Tensor, "edges"]

    def groups(self, masks: Mapping[str, Int64[Tensor, "B words"]]) -> dict[str, Group]:
        """Groups of polygons by name. masks: their words, by scene."""
        cells = torch.nonzero(self.row >= 0)[:, 0]
        scene, row = cells // SIDE**2, torch.repeat_interleave(self.entries.count)
        surely = self.at_reference.clone()
        for word in range(surely.shape[1]):
            surely[cells, word] &= ~torch.where(self.slot_word == word, self.slot_bit, 0).sum(-1)
        found = {}
        for name, mask in masks.items():
            slots = (mask[scene[:, None], self.slot_word] & self.slot_bit) != 0
            covered = (surely.view(len(mask), -1, mask.shape[1]) & mask[:, None]) != 0
            state = covered.any(-1).view(-1).to(torch.int8) * ALL
            state[cells] = torch.where((state[cells] == NONE) & slots.any(-1), ASK, state[cells])
            found[name] = Group(mask=mask, state=state, entries=self._entries_of(slots, row))
        return found

    def _entries_of(self, slots: Bool[Tensor, "rows slots"], row: Int64[Tensor, "entries"]) -> Entries:
        """The entries of some slots, which are numbered anew. row: of each entry."""
        every, number = self.entries, slots.long().cumsum(-1) - 1
        kept = torch.nonzero(slots[row, every.slot])[:, 0]
        count = torch.zeros_like(every.count).index_add_(0, row[kept], torch.ones_like(kept))
        inside = slots.new_zeros(len(slots), int(number.max()) + 1 if slots.any() else 1)
        of, slot = torch.nonzero(slots, as_tuple=True)
        inside[of, number[of, slot]] = every.inside[of, slot]
        return Entries(
            first=count.cumsum(0) - count, count=count, edge=every.edge[kept], left=every.left[kept],
            slot=number[row[kept], every.slot[kept]], inside=inside,
        )  # fmt: skip

    def locate(self, x: Float[Tensor, "B *n"], y: Float[Tensor, "B *n"]) -> Located:
        """The cells of points."""
        scenes = len(x)
        x, y = x.reshape(scenes, -1), y.reshape(scenes, -1)
        column, line = (x - self.corner[:, :1]) / CELL_M, (y - self.corner[:, 1:]) / CELL_M
        beyond = (torch.minimum(column, line) < 0) | (torch.maximum(column, line) >= SIDE)
        far = torch.nonzero(beyond.view(-1))[:, 0]
        if len(far):
            column, line = column.masked_fill(beyond, 0.0), line.masked_fill(beyond, 0.0)
        first = torch.arange(scenes, device=x.device)[:, None] * SIDE
        cell = ((line.long() + first) * SIDE + column.long()).view(-1)
        return Located(x.view(-1), y.view(-1), cell, far, scenes)

    def inside(self, group: Group, points: Located) -> Bool[Tensor, "n"]:
        """Whether each point lies in any polygon of the group."""
        x, y, cell, far, scenes = points
        state = group.state[cell]
        found = state == ALL
        asked = torch.nonzero(state == ASK)[:, 0]
        if len(asked):
            here = cell[asked]
            row = self.row[here]
            counts = self._crossings(torch.stack([x[asked], y[asked]], -1), here, row, group.entries)
            found[asked] = ((((counts & 1) == 1) != group.entries.inside[row]) & (counts < ON_EDGE)).any(-1)
        if len(far):
            scene = far // (len(x) // scenes)
            words = self.containing_by_edges(torch.stack([x[far], y[far]], -1), scene)
            found[far] = ((words & group.mask[scene]) != 0).any(-1)
        return found

    def containing(self, points: Float[Tensor, "n 2"], scene: Int64[Tensor, "n"]) -> Int64[Tensor, "n words"]:
        """Words of the polygons that contain each point."""
        cell = ((points - self.corner[scene]) / CELL_M).floor()
        beyond = ((cell < 0) | (cell >= SIDE)).any(-1)
        cell = cell.clamp(0, SIDE - 1).long()
        cell = (scene * SIDE + cell[:, 1]) * SIDE + cell[:, 0]
        words = self.at_reference[cell]
        asked = torch.nonzero((self.row[cell] >= 0) & ~beyond)[:, 0]
        row = self.row[cell[asked]]
        counts = self._crossings(points[asked], cell[asked], row, self.entries)
        flips = torch.where((counts & 1) == 1, self.slot_bit[row], 0)
        border = torch.where(counts >= ON_EDGE, self.slot_bit[row], 0)
        for word in range(words.shape[1]):
            mine = self.slot_word[row] == word
            words[asked, word] = (words[asked, word] ^ (flips * mine).sum(-1)) & ~(border * mine).sum(-1)
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
            polygon, number = (self.edge_word[mine] * BITS + self.edge_bit[mine]).unique(return_inverse=True)
            for some in rows.split(256):
                q, a, b = points[some, None], self.edges[mine, :2], self.edges[mine, 2:]
                turn = _cross(b - a, q - a)
                crosses = ((a[:, 1] <= q[..., 1]) != (b[:, 1] <= q[..., 1])) & ((turn > 0) == (b[:, 1] > a[:, 1]))
                on_edge = (turn == 0) & ((q >= torch.minimum(a, b)) & (q <= torch.maximum(a, b))).all(-1)
                hits = crosses.long() + ON_EDGE * on_edge
                counts = hits.new_zeros(len(some), len(polygon)).index_add_(1, number, hits)
                inside = (counts % 2 == 1) & (counts < ON_EDGE)
                for word in range(words.shape[1]):
                    bits = torch.where(polygon // BITS == word, 1 << (polygon % BITS), 0)
                    words[some, word] = (inside * bits).sum(-1)
        return words

    def _crossings(
        self, points: Float[Tensor, "q 2"], cell: Int64[Tensor, "q"], row: Int64[Tensor, "q"], of: Entries
    ) -> Int64[Tensor, "q slots"]:
        """How often the way from its cell's reference point to each point crosses the polygon of each slot; ON_EDGE and more where the
        point lies on the border."""
        count = of.count[row]
        which = torch.repeat_interleave(count)
        entry = (of.first[row] - (count.cumsum(0) - count))[which] + torch.arange(len(which), device=which.device)
        place = torch.stack([cell % SIDE, cell // SIDE % SIDE], -1).to(points.dtype)
        start = (
            self.corner[cell // SIDE**2]
            + (place + torch.tensor(INSIDE, dtype=points.dtype, device=points.device)) * CELL_M
        )
        wx, wy = (points - start)[which].unbind(-1)
        ax, ay, bx, by = of.edge[entry].unbind(-1)
        to_a = wx * ay - wy * ax
        turn = (bx - ax) * (wy - ay) - (by - ay) * (wx - ax)
        crosses = (to_a >= 0) != (wx * by - wy * bx >= 0)
        crosses &= (turn > 0) != of.left[entry]
        hits = crosses.long()
        level = torch.nonzero(turn == 0)[:, 0]
        if len(level):
            between = (wx - ax)[level] * (wx - bx)[level] <= 0
            hits[level] += ON_EDGE * (between & ((wy - ay)[level] * (wy - by)[level] <= 0))
        slots = of.inside.shape[1]
        counts = hits.new_zeros(len(points) * slots)
        return counts.index_add_(0, which * slots + of.slot[entry], hits).view(-1, slots)


def polygon_grid(
    polygons: Sequence[Polygons],
    origins: Sequence[Float64[np.ndarray, "2"]],
    centres: Sequence[Float64[np.ndarray, "2"]],
) -> PolygonGrid:
    """The grid of several scenes. origins: whole-metre points that coordinates count from; centres: of the grids, global."""
    parts = [_one(one, origin, centre - origin) for one, origin, centre in zip(polygons, origins, centres)]
    words = max(part["at_reference"].shape[1] for part in parts)
    slots = max(part["slot_bit"].shape[1] for part in parts)
    tables = {key: [] for key in parts[0]}
    entries, rows = 0, 0
    for scene, part in enumerate(parts):
        part["at_reference"] = _pad(part["at_reference"], words)
        part |= {name: _pad(part[name], slots) for name in ("slot_word", "slot_bit", "inside")}
        part["row"] = np.where(part["row"] >= 0, part["row"] + rows, -1)
        part["first"] = part["first"] + entries
        part["edge_scene"] = np.full(len(part["edges"]), scene)
        entries, rows = entries + len(part["edge"]), rows + len(part["first"])
        for key, values in part.items():
            tables[key].append(values)
    joined = {key: torch.from_numpy(np.concatenate(values)) for key, values in tables.items()}
    own = {field.name: joined.pop(field.name) for field in fields(Entries)}
    return PolygonGrid(entries=Entries(**own), **joined)


def _one(
    polygons: Polygons, origin: Float64[np.ndarray, "2"], centre: Float64[np.ndarray, "2"]
) -> dict[str, np.ndarray]:
    edges, owner = _edges(polygons, origin)
    corner = centre - FETCH_M
    words = int(owner.max() // BITS + 1) if len(owner) else 1
    cell, edge = touched_cells(edges, corner, TOUCH_M)
    new_cell = np.diff(cell, prepend=-1) != 0
    starts = np.flatnonzero(new_cell)
    rank = np.cumsum(new_cell | (np.diff(owner[edge], prepend=-1) != 0)) - 1
    row = np.cumsum(new_cell) - 1
    slot = rank - rank[starts][row]
    slots = int(slot.max()) + 1 if len(slot) else 1
    bit, word = np.zeros((len(starts), slots), np.int64), np.zeros((len(starts), slots), np.int64)
    bit[row, slot] = np.int64(1) << (owner[edge] % BITS)
    word[row, slot] = owner[edge] // BITS
    at_reference = _at_reference(edges, owner, corner, words)
    rows = np.full(SIDE * SIDE, -1, np.int64)
    rows[cell[starts]] = np.arange(len(starts))
    place = np.stack([cell % SIDE, cell // SIDE], -1) + np.array(INSIDE)
    seen = edges[edge] - np.tile(corner + place * CELL_M, 2)
    (ax, ay), (bx, by) = seen[:, :2].T, seen[:, 2:].T
    return {
        "corner": corner[None], "at_reference": at_reference, "row": rows, "first": starts,
        "count": np.diff(np.append(starts, len(cell))), "edge": seen,
        "left": (bx - ax) * -ay - (by - ay) * -ax > 0, "slot": slot, "slot_word": word, "slot_bit": bit,
        "inside": (at_reference[cell[starts][:, None], word] & bit) != 0, "edges": edges,
        "edge_scene": np.zeros(len(edges), np.int64), "edge_word": owner // BITS, "edge_bit": owner % BITS,
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


def touched_cells(
    edges: Float64[np.ndarray, "E 4"], corner: Float64[np.ndarray, "2"], within_m: float
) -> tuple[Int64[np.ndarray, "n"], Int64[np.ndarray, "n"]]:
    """Cells and the edges that come within so many metres of them (below 0.55 of a cell), sorted by cell, then edge; a few more than need be."""
    start, along = (edges[:, :2] - corner) / CELL_M, (edges[:, 2:] - edges[:, :2]) / CELL_M
    within = within_m / CELL_M
    near = ((np.minimum(start, start + along) < SIDE + within) & (np.maximum(start, start + along) >= -within)).all(1)
    which = np.flatnonzero(near)
    pieces = np.maximum(np.ceil(np.hypot(*along[which].T) / PIECE).astype(np.int64), 1)
    edge = np.repeat(which, pieces)
    step = np.arange(len(edge)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    share = 1.0 / np.repeat(pieces, pieces)
    one = start[edge] + along[edge] * (step * share)[:, None]
    two = one + along[edge] * share[:, None]
    low, high = np.floor(np.minimum(one, two) - within), np.floor(np.maximum(one, two) + within)
    spread = [low, high] if within < (1 - PIECE) / 2 else [low, np.minimum(low + 1, high), high]
    cells = np.concatenate([np.stack([x[:, 0], y[:, 1]], 1) for x in spread for y in spread]).astype(np.int64)
    inside = ((cells >= 0) & (cells < SIDE)).all(1)
    key = (cells[:, 1] * SIDE + cells[:, 0]) * max(len(edges), 1) + np.tile(edge, len(spread) ** 2)
    key = np.sort(key[inside])
    key = key[np.diff(key, prepend=-1) != 0]
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


def _cross(a: Float[Tensor, "*#n 2"], b: Float[Tensor, "*#n 2"]) -> Float[Tensor, "..."]:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
