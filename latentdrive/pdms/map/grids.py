"""Grids that answer where a point lies: in which polygons of the map, and whether near the centreline.

Answers are exact and take a few look-ups. A grid of square cells lies around the ego. Each cell
knows which polygons contain its reference point, and which edges pass through the cell. In a cell
without edges, that answers the question. Elsewhere, the straight line from the reference point to
the queried point is followed, and each edge that it crosses flips the answer for the edge's
polygon. As in shapely, containment is strict: a point on a border is outside. Points beyond the
grid are compared with every edge.

Most queries are about any polygon of a group, such as the drivable areas. A group knows for every
cell whether one of its polygons covers the whole cell, or whether none meets it. Only in the
remaining cells are edges followed, and only those of the group's polygons.

For the centreline, each cell knows the segments that come near it.

A polygon is a bit of 63-bit words. Coordinates are metres from a whole-metre point near the ego, so
that float64 loses nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int8, Int64
from torch import Tensor

from latentdrive.pdms.scene import FETCH_M
from latentdrive.types import FROZEN, Batch

BITS = 63  # bits used of a 64-bit word; its sign stays free
CELL_M = 1.0  # side of a cell; the grid covers the square from which areas are fetched
SIDE = int(2 * FETCH_M / CELL_M)
# Place of the reference point in its cell: road edges are seldom there, and binary fractions keep differences exact.
INSIDE = (499 / 1024, 526 / 1024)
ON_EDGE = 1 << 20  # added to the number of crossings if the point lies on the edge
NONE, ALL, ASK = 0, 1, 2  # what a group knows about a cell


@dataclass(**FROZEN)
class Entries(Batch):
    """Edges, by rows; a row is a cell with edges.

    first, count: entries of a row. edge: x, y of start and end, relative to the cell's reference
    point. left: whether that point lies to the left of the edge. slot: the edge's polygon, numbered
    within the row. inside: whether the polygon of each slot contains the reference point.
    """

    first: Int64[Tensor, "rows"]
    count: Int64[Tensor, "rows"]
    edge: Float[Tensor, "entries 4"]
    left: Bool[Tensor, "entries"]
    slot: Int64[Tensor, "entries"]
    inside: Bool[Tensor, "rows slots"]


@dataclass(**FROZEN)
class Group(Batch):
    """Some of the polygons.

    mask: their words, by scene. state: NONE, ALL or ASK, by cell. entries: their edges.
    """

    mask: Int64[Tensor, "B words"]
    state: Int8[Tensor, "cells"]
    entries: Entries


class Located(NamedTuple):
    """Points of all scenes, one scene after the other.

    cell: the cell of each point. far: indices of the points beyond the grid. scenes: number of
    scenes.
    """

    x: Float[Tensor, "n"]
    y: Float[Tensor, "n"]
    cell: Int64[Tensor, "n"]
    far: Int64[Tensor, "f"]
    scenes: int


@dataclass(**FROZEN)
class PolygonGrid(Batch):
    """Polygons of B scenes, ready for queries.

    corner: lower left corner of each grid. at_reference: words of the polygons that contain a
    cell's reference point. row: row of a cell with edges, or -1. entries: all edges, by row.
    slot_word, slot_bit: the polygon of each slot. edges: x, y of start and end of all edges.
    edge_scene, edge_word, edge_bit: scene and polygon of each edge.
    """

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
        covering = self.at_reference.clone()  # the polygons that cover a whole cell
        for word in range(covering.shape[1]):
            covering[cells, word] &= ~torch.where(self.slot_word == word, self.slot_bit, 0).sum(-1)
        groups = {}
        for name, mask in masks.items():
            slots = (mask[scene[:, None], self.slot_word] & self.slot_bit) != 0
            covered = (covering.view(len(mask), -1, mask.shape[1]) & mask[:, None]) != 0
            state = covered.any(-1).view(-1).to(torch.int8) * ALL
            state[cells] = torch.where((state[cells] == NONE) & slots.any(-1), ASK, state[cells])
            groups[name] = Group(mask=mask, state=state, entries=self._entries_of(slots, row))
        return groups

    def _entries_of(self, slots: Bool[Tensor, "rows slots"], row: Int64[Tensor, "entries"]) -> Entries:
        """The entries of the chosen slots, which are renumbered from 0. slots: whether chosen. row: of each entry."""
        every, number = self.entries, slots.long().cumsum(-1) - 1
        chosen = torch.nonzero(slots[row, every.slot])[:, 0]
        count = torch.zeros_like(every.count).index_add_(0, row[chosen], torch.ones_like(chosen))
        inside = slots.new_zeros(len(slots), int(number.max()) + 1 if slots.any() else 1)
        rows, slot = torch.nonzero(slots, as_tuple=True)
        inside[rows, number[rows, slot]] = every.inside[rows, slot]
        return Entries(
            first=count.cumsum(0) - count,
            count=count,
            edge=every.edge[chosen],
            left=every.left[chosen],
            slot=number[row[chosen], every.slot[chosen]],
            inside=inside,
        )

    def locate(self, x: Float[Tensor, "B *n"], y: Float[Tensor, "B *n"]) -> Located:
        """Find the cells of points."""
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
        inside = state == ALL
        undecided = torch.nonzero(state == ASK)[:, 0]
        if len(undecided):
            cells = cell[undecided]
            row = self.row[cells]
            counts = self._crossings(torch.stack([x[undecided], y[undecided]], -1), cells, row, group.entries)
            inside[undecided] = ((((counts & 1) == 1) != group.entries.inside[row]) & (counts < ON_EDGE)).any(-1)
        if len(far):
            scene = far // (len(x) // scenes)
            words = self.containing_by_edges(torch.stack([x[far], y[far]], -1), scene)
            inside[far] = ((words & group.mask[scene]) != 0).any(-1)
        return inside

    def containing(self, points: Float[Tensor, "n 2"], scene: Int64[Tensor, "n"]) -> Int64[Tensor, "n words"]:
        """Words of the polygons that contain each point. scene: of each point."""
        cell = ((points - self.corner[scene]) / CELL_M).floor()
        beyond = ((cell < 0) | (cell >= SIDE)).any(-1)
        cell = cell.clamp(0, SIDE - 1).long()
        cell = (scene * SIDE + cell[:, 1]) * SIDE + cell[:, 0]
        words = self.at_reference[cell]
        undecided = torch.nonzero((self.row[cell] >= 0) & ~beyond)[:, 0]
        row = self.row[cell[undecided]]
        counts = self._crossings(points[undecided], cell[undecided], row, self.entries)
        flips = torch.where((counts & 1) == 1, self.slot_bit[row], 0)
        border = torch.where(counts >= ON_EDGE, self.slot_bit[row], 0)
        for word in range(words.shape[1]):
            in_word = self.slot_word[row] == word
            words[undecided, word] = (words[undecided, word] ^ (flips * in_word).sum(-1)) & ~(border * in_word).sum(-1)
        outside = torch.nonzero(beyond)[:, 0]
        if len(outside):
            words[outside] = self.containing_by_edges(points[outside], scene[outside])
        return words

    def containing_by_edges(self, points: Float[Tensor, "n 2"], scene: Int64[Tensor, "n"]) -> Int64[Tensor, "n words"]:
        """The same as `containing`, by comparing each point with every edge of its scene.

        It is slow. It serves points beyond the grid, and tests of the grid.
        """
        words = self.at_reference.new_zeros(len(points), self.at_reference.shape[1])
        for which in scene.unique().tolist():
            edges = torch.nonzero(self.edge_scene == which)[:, 0]
            polygon, number = (self.edge_word[edges] * BITS + self.edge_bit[edges]).unique(return_inverse=True)
            for rows in torch.nonzero(scene == which)[:, 0].split(256):
                q, a, b = points[rows, None], self.edges[edges, :2], self.edges[edges, 2:]
                turn = _cross(b - a, q - a)
                crosses = ((a[:, 1] <= q[..., 1]) != (b[:, 1] <= q[..., 1])) & ((turn > 0) == (b[:, 1] > a[:, 1]))
                on_edge = (turn == 0) & ((q >= torch.minimum(a, b)) & (q <= torch.maximum(a, b))).all(-1)
                hits = crosses.long() + ON_EDGE * on_edge
                counts = hits.new_zeros(len(rows), len(polygon)).index_add_(1, number, hits)
                inside = (counts % 2 == 1) & (counts < ON_EDGE)
                for word in range(words.shape[1]):
                    bits = torch.where(polygon // BITS == word, 1 << (polygon % BITS), 0)
                    words[rows, word] = (inside * bits).sum(-1)
        return words

    def _crossings(
        self, points: Float[Tensor, "q 2"], cell: Int64[Tensor, "q"], row: Int64[Tensor, "q"], entries: Entries
    ) -> Int64[Tensor, "q slots"]:
        """How often the line from its cell's reference point to each point crosses the polygon of each slot.

        ON_EDGE is added where the point lies on the border.
        """
        count = entries.count[row]
        which = torch.repeat_interleave(count)
        entry = (entries.first[row] - (count.cumsum(0) - count))[which] + torch.arange(len(which), device=which.device)
        place = torch.stack([cell % SIDE, cell // SIDE % SIDE], -1).to(points.dtype)
        start = (
            self.corner[cell // SIDE**2]
            + (place + torch.tensor(INSIDE, dtype=points.dtype, device=points.device)) * CELL_M
        )
        wx, wy = (points - start)[which].unbind(-1)
        ax, ay, bx, by = entries.edge[entry].unbind(-1)
        to_a = wx * ay - wy * ax
        turn = (bx - ax) * (wy - ay) - (by - ay) * (wx - ax)
        crosses = (to_a >= 0) != (wx * by - wy * bx >= 0)
        crosses &= (turn > 0) != entries.left[entry]
        hits = crosses.long()
        level = torch.nonzero(turn == 0)[:, 0]
        if len(level):
            between = (wx - ax)[level] * (wx - bx)[level] <= 0
            hits[level] += ON_EDGE * (between & ((wy - ay)[level] * (wy - by)[level] <= 0))
        slots = entries.inside.shape[1]
        counts = hits.new_zeros(len(points) * slots)
        return counts.index_add_(0, which * slots + entries.slot[entry], hits).view(-1, slots)


@dataclass(**FROZEN)
class LineGrid(Batch):
    """Centrelines of B scenes.

    first, count: entries of each cell. entries: numbers of segments. starts, steps: starts and
    vectors of all segments, metres from each scene's origin. segment_scene: the scene of each
    segment. near_m: the distance that counts as near.
    """

    first: Int64[Tensor, "cells"]
    count: Int64[Tensor, "cells"]
    entries: Int64[Tensor, "entries"]
    starts: Float[Tensor, "n 2"]
    steps: Float[Tensor, "n 2"]
    segment_scene: Int64[Tensor, "n"]
    near_m: Float[Tensor, ""]

    def near(self, points: Located) -> Bool[Tensor, "p"]:
        """Whether each point is at most near_m away from the centreline of its scene."""
        count = self.count[points.cell]
        which = torch.repeat_interleave(count)
        entry = (self.first[points.cell] - (count.cumsum(0) - count))[which] + torch.arange(
            len(which), device=count.device
        )
        near = torch.zeros(len(points.x), dtype=torch.bool, device=count.device)
        close = self._close(points.x[which], points.y[which], self.entries[entry])
        near[which[close]] = True
        if len(points.far):
            scene = points.far // (len(points.x) // points.scenes)
            for number in scene.unique().tolist():
                segments = torch.nonzero(self.segment_scene == number)[:, 0]
                for far in points.far[scene == number].split(256):
                    close = self._close(points.x[far, None], points.y[far, None], segments)
                    near[far] = close.any(-1)
        return near

    def _close(
        self, x: Float[Tensor, "*p"], y: Float[Tensor, "*p"], segment: Int64[Tensor, "q"]
    ) -> Bool[Tensor, "*pq"]:
        (x0, y0), (dx, dy) = self.starts[segment].unbind(-1), self.steps[segment].unbind(-1)
        x, y = x - x0, y - y0
        length = (dx * dx + dy * dy).clamp(min=torch.finfo(dx.dtype).tiny)
        share = ((x * dx + y * dy) / length).clamp(0.0, 1.0)
        return torch.hypot(x - share * dx, y - share * dy) <= self.near_m


def _cross(a: Float[Tensor, "*#n 2"], b: Float[Tensor, "*#n 2"]) -> Float[Tensor, "..."]:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
