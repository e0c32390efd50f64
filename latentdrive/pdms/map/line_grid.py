"""Which points lie near the route's centreline: exact answers in a few look-ups.

The cells of polygon_grid.py, with the centreline's segments that come near each. A point is compared with those of its cell; points
beyond the grid with all of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from latentdrive.pdms.map.polygon_grid import SIDE, TOUCH_M, Located, touched_cells
from latentdrive.types import FROZEN, Batch


@dataclass(**FROZEN)
class LineGrid(Batch):
    """Centrelines of B scenes. first, count: entries of each cell; entries: segments; starts, steps: of all segments, metres from each
    scene's origin; segment_scene: whose it is; near_m: what is near."""

    first: Int64[Tensor, "cells"]
    count: Int64[Tensor, "cells"]
    entries: Int64[Tensor, "entries"]
    starts: Float[Tensor, "n 2"]
    steps: Float[Tensor, "n 2"]
    segment_scene: Int64[Tensor, "n"]
    near_m: Float[Tensor, ""]

    def near(self, points: Located) -> Bool[Tensor, "p"]:
        """Whether each point lies no farther than near_m from its scene's centreline."""
        count = self.count[points.cell]
        which = torch.repeat_interleave(count)
        entry = (self.first[points.cell] - (count.cumsum(0) - count))[which] + torch.arange(
            len(which), device=count.device
        )
        found = torch.zeros(len(points.x), dtype=torch.bool, device=count.device)
        close = self._close(points.x[which], points.y[which], self.entries[entry])
        found[which[close]] = True
        if len(points.far):
            scene = points.far // (len(points.x) // points.scenes)
            for one in scene.unique().tolist():
                mine = torch.nonzero(self.segment_scene == one)[:, 0]
                for some in points.far[scene == one].split(256):
                    close = self._close(points.x[some, None], points.y[some, None], mine)
                    found[some] = close.any(-1)
        return found

    def _close(
        self, x: Float[Tensor, "*p"], y: Float[Tensor, "*p"], segment: Int64[Tensor, "q"]
    ) -> Bool[Tensor, "*pq"]:
        (x0, y0), (dx, dy) = self.starts[segment].unbind(-1), self.steps[segment].unbind(-1)
        x, y = x - x0, y - y0
        length = (dx * dx + dy * dy).clamp(min=torch.finfo(dx.dtype).tiny)
        share = ((x * dx + y * dy) / length).clamp(0.0, 1.0)
        return torch.hypot(x - share * dx, y - share * dy) <= self.near_m


def line_grid(
    lines: Sequence[Float64[np.ndarray, "_ 2"]], corners: Sequence[Float64[np.ndarray, "2"]], near_m: float
) -> LineGrid:
    """lines: vertices of the centrelines, metres from each scene's origin. corners: lower left of the grids."""
    parts, segments, entries = [], 0, 0
    for scene, (line, corner) in enumerate(zip(lines, corners)):
        cell, segment = touched_cells(np.concatenate([line[:-1], line[1:]], 1), corner, near_m + TOUCH_M)
        count = np.bincount(cell, minlength=SIDE * SIDE)
        parts.append(
            {
                "first": np.cumsum(count) - count + entries, "count": count, "entries": segment + segments,
                "starts": line[:-1], "steps": np.diff(line, axis=0), "segment_scene": np.full(len(line) - 1, scene),
            }
        )  # fmt: skip
        segments, entries = segments + len(line) - 1, entries + len(cell)
    joined = {key: torch.from_numpy(np.concatenate([part[key] for part in parts])) for key in parts[0]}
    return LineGrid(**joined, near_m=torch.tensor(near_m, dtype=torch.float64))
