"""Building the grids of grids.py from the polygons and centrelines of scenes."""

from collections.abc import Sequence
from dataclasses import fields

import numpy as np
import torch
from jaxtyping import Float64, Int, Int64

from latentdrive.pdms.map.grids import BITS, CELL_M, INSIDE, SIDE, Entries, LineGrid, PolygonGrid
from latentdrive.pdms.scene import FETCH_M, Polygons

PIECE = 0.9  # longest edge piece as a share of a cell, so that a piece touches at most 2 x 2 cells
TOUCH_M = 1e-6  # an edge this near to a cell counts as passing through it


def polygon_grid(
    polygons: Sequence[Polygons],
    origins: Sequence[Float64[np.ndarray, "2"]],
    centres: Sequence[Float64[np.ndarray, "2"]],
) -> PolygonGrid:
    """The grid of several scenes.

    origins: whole-metre points that coordinates are relative to. centres: of the grids, in the
    global frame.
    """
    parts = [_of_scene(packed, origin, centre - origin) for packed, origin, centre in zip(polygons, origins, centres)]
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


def line_grid(
    lines: Sequence[Float64[np.ndarray, "_ 2"]], corners: Sequence[Float64[np.ndarray, "2"]], near_m: float
) -> LineGrid:
    """The grid of several scenes.

    lines: vertices of the centrelines, metres from each scene's origin. corners: lower left corners
    of the grids.
    """
    parts, segments, entries = [], 0, 0
    for scene, (line, corner) in enumerate(zip(lines, corners)):
        cell, segment = touched_cells(np.concatenate([line[:-1], line[1:]], 1), corner, near_m + TOUCH_M)
        count = np.bincount(cell, minlength=SIDE * SIDE)
        parts.append(
            {
                "first": np.cumsum(count) - count + entries,
                "count": count,
                "entries": segment + segments,
                "starts": line[:-1],
                "steps": np.diff(line, axis=0),
                "segment_scene": np.full(len(line) - 1, scene),
            }
        )
        segments, entries = segments + len(line) - 1, entries + len(cell)
    joined = {key: torch.from_numpy(np.concatenate([part[key] for part in parts])) for key in parts[0]}
    return LineGrid(**joined, near_m=torch.tensor(near_m, dtype=torch.float64))


def _of_scene(
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
    relative = edges[edge] - np.tile(corner + place * CELL_M, 2)
    (ax, ay), (bx, by) = relative[:, :2].T, relative[:, 2:].T
    return {
        "corner": corner[None],
        "at_reference": at_reference,
        "row": rows,
        "first": starts,
        "count": np.diff(np.append(starts, len(cell))),
        "edge": relative,
        "left": (bx - ax) * -ay - (by - ay) * -ax > 0,
        "slot": slot,
        "slot_word": word,
        "slot_bit": bit,
        "inside": (at_reference[cell[starts][:, None], word] & bit) != 0,
        "edges": edges,
        "edge_scene": np.zeros(len(edges), np.int64),
        "edge_word": owner // BITS,
        "edge_bit": owner % BITS,
    }


def _edges(
    polygons: Polygons, origin: Float64[np.ndarray, "2"]
) -> tuple[Float64[np.ndarray, "E 4"], Int[np.ndarray, "E"]]:
    """All rings as edges, in the order of their polygons. Edges of no length are left out."""
    points, sizes = polygons.vertices - origin, np.diff(polygons.ends)
    after = np.arange(len(points)) + 1
    after[polygons.ends[1:] - 1] = polygons.ends[:-1]
    edges, owner = np.concatenate([points, points[after]], 1), np.repeat(polygons.owner.astype(np.int64), sizes)
    proper = (edges[:, :2] != edges[:, 2:]).any(1)
    order = np.argsort(owner[proper], kind="stable")
    return edges[proper][order], owner[proper][order]


def touched_cells(
    edges: Float64[np.ndarray, "E 4"], corner: Float64[np.ndarray, "2"], within_m: float
) -> tuple[Int64[np.ndarray, "n"], Int64[np.ndarray, "n"]]:
    """Pairs of cells and edges that come within `within_m` of each other, sorted by cell, then edge.

    within_m: below 0.55 of a cell. The result may hold a few pairs that are farther apart.
    """
    start, along = (edges[:, :2] - corner) / CELL_M, (edges[:, 2:] - edges[:, :2]) / CELL_M
    within = within_m / CELL_M
    near = ((np.minimum(start, start + along) < SIDE + within) & (np.maximum(start, start + along) >= -within)).all(1)
    which = np.flatnonzero(near)
    pieces = np.maximum(np.ceil(np.hypot(*along[which].T) / PIECE).astype(np.int64), 1)
    edge = np.repeat(which, pieces)
    step = np.arange(len(edge)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    share = 1.0 / np.repeat(pieces, pieces)
    begin = start[edge] + along[edge] * (step * share)[:, None]
    end = begin + along[edge] * share[:, None]
    low, high = np.floor(np.minimum(begin, end) - within), np.floor(np.maximum(begin, end) + within)
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
    """Words of the polygons that contain each cell's reference point.

    An edge that crosses the line through a row's reference points flips its polygon for every cell
    to the right.
    """
    x1, y1, x2, y2 = ((edges - np.tile(corner, 2)) / CELL_M).T
    low, high = (np.ceil(f(y1, y2) - INSIDE[1]).clip(0, SIDE).astype(np.int64) for f in (np.minimum, np.maximum))
    edge = np.repeat(np.arange(len(edges)), high - low)
    row = np.arange(len(edge)) - np.repeat(np.cumsum(high - low) - (high - low), high - low) + low[edge]
    share = (row + INSIDE[1] - y1[edge]) / (y2 - y1)[edge]
    column = np.ceil(x1[edge] + share * (x2 - x1)[edge] - INSIDE[0]).clip(0, SIDE).astype(np.int64)
    flips = np.zeros((words, SIDE, SIDE + 1), np.int64)
    np.bitwise_xor.at(flips, (owner[edge] // BITS, row, column), np.int64(1) << (owner[edge] % BITS))
    inside = np.bitwise_xor.accumulate(flips, axis=2)[:, :, :SIDE]
    return np.ascontiguousarray(inside.reshape(words, -1).T)


def _pad(table: np.ndarray, width: int) -> np.ndarray:
    return np.pad(table, ((0, 0), (0, width - table.shape[1])))
