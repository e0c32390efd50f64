"""Meshes: quads with a texture and a tint, gathered by what the renderer draws in one go.

Below scenery.py (what stands where) and cameras.py (what shows it). x, y in the plane of the drive, z up, metres.
"""

from collections import defaultdict
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from jaxtyping import Float, Float64, Int64

from latentdrive.types import FROZEN

CELL_M = 60.0  # what lies in one cell is culled together
VERTEX = np.dtype([("position", "<f4", 3), ("colour", "u1", 4), ("texcoord", "<f4", 2)])
SUN = np.array([0.45, -0.6, 0.66])
Colour = Float64[np.ndarray, "3"]


class Layer(IntEnum):
    """Order of painting. What lies flat is painted in order without a depth test, so nothing flickers; the rest has depth."""

    GROUND = 1
    KERB = 2
    ROAD = 3
    MARKS = 4
    SHADOWS = 5
    SOLID = 6


@dataclass(**FROZEN)
class Mesh:
    """Quads of one layer and texture; four vertices each, in order around the quad."""

    layer: Layer
    texture: str
    vertices: np.ndarray
    triangles: Int64[np.ndarray, "n 3"]


class Workbench:
    """Collects quads and hands them out as meshes, one for each layer, texture and cell of the plane."""

    def __init__(self) -> None:
        self._quads: dict[tuple[Layer, str, int, int], list[np.ndarray]] = defaultdict(list)

    def quads(
        self, layer: Layer, texture: str, corners: Float[np.ndarray, "m 4 3"], texcoords: Float[np.ndarray, "m 4 2"],
        colours: Float[np.ndarray, "m 3"],
    ) -> None:  # fmt: skip
        """Add quads. colours: one a quad in [0, 1]; what exceeds 1 is cut."""
        vertices = np.empty((len(corners), 4), VERTEX)
        vertices["position"], vertices["texcoord"] = corners, texcoords
        vertices["colour"][..., :3] = np.clip(np.asarray(colours) * 255, 0, 255).astype(np.uint8)[:, None]
        vertices["colour"][..., 3] = 255
        cells = np.floor(corners[:, :, :2].mean(1) / CELL_M).astype(int)
        for cell in np.unique(cells, axis=0):
            self._quads[layer, texture, int(cell[0]), int(cell[1])].append(vertices[(cells == cell).all(1)])

    def ribbon(
        self, layer: Layer, texture: str, left: Float64[np.ndarray, "n 2"], right: Float64[np.ndarray, "n 2"], *,
        tile_m: float, colour: Colour,
    ) -> None:  # fmt: skip
        """A strip on the ground between two lines. The picture spans its width and repeats every tile_m metres along it."""
        along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff((left + right) / 2, axis=0), axis=1))]) / tile_m
        flat = [np.concatenate([line, np.zeros((len(line), 1))], -1) for line in (left, right)]
        corners = np.stack([flat[1][:-1], flat[1][1:], flat[0][1:], flat[0][:-1]], 1)
        zero, one = np.zeros(len(along) - 1), np.ones(len(along) - 1)
        texcoords = np.stack(
            [
                np.stack(pair, -1)
                for pair in ((one, along[:-1]), (one, along[1:]), (zero, along[1:]), (zero, along[:-1]))
            ],
            1,
        )
        self.quads(layer, texture, corners, texcoords, np.tile(colour, (len(corners), 1)))

    def box(
        self, texture: str, pose: Float64[np.ndarray, "3"], size: tuple[float, float, float], *, base_m: float,
        colour: Colour, tile_m: float, taper: float = 0.0, top: bool = True,
    ) -> None:  # fmt: skip
        """A box on the ground or above it, shaded face by face. pose: centre and heading. taper: share by which the roof is smaller."""
        half = np.array(size[:2]) / 2
        signs = np.array([[1, -1], [1, 1], [-1, 1], [-1, -1]])
        cos, sin = np.cos(pose[2]), np.sin(pose[2])
        turn = np.array([[cos, sin], [-sin, cos]])
        foot = pose[:2] + (signs * half) @ turn
        roof = pose[:2] + (signs * half * (1 - taper)) @ turn
        low = np.concatenate([foot, np.full((4, 1), base_m)], -1)
        high = np.concatenate([roof, np.full((4, 1), base_m + size[2])], -1)
        following = np.roll(np.arange(4), -1)
        sides = np.stack([low, low[following], high[following], high], 1)
        widths = np.array([size[1], size[0], size[1], size[0]]) / tile_m
        tall = np.full(4, size[2] / tile_m)
        zero = np.zeros(4)
        uv = np.stack([np.stack(p, -1) for p in ((zero, zero), (widths, zero), (widths, tall), (zero, tall))], 1)
        normals = np.stack([np.array([1, 0, -1, 0]), np.array([0, 1, 0, -1])], -1) @ turn
        light = 0.62 + 0.38 * np.clip(normals @ SUN[:2] / np.hypot(*SUN[:2]), -0.6, 1)
        self.quads(Layer.SOLID, texture, sides, uv, light[:, None] * colour)
        if top:
            self.quads(Layer.SOLID, texture, high[None], uv[:1] * 0, 1.05 * np.asarray(colour)[None])

    def meshes(self) -> list[Mesh]:
        """Everything added so far."""
        result = []
        for (layer, texture, _, _), parts in sorted(self._quads.items(), key=lambda item: item[0]):
            vertices = np.concatenate(parts).reshape(-1)
            first = np.arange(0, len(vertices), 4)[:, None]
            triangles = np.concatenate([first + [0, 1, 2], first + [0, 2, 3]], 1).reshape(-1, 3)
            result.append(Mesh(layer=layer, texture=texture, vertices=vertices, triangles=triangles))
        return result
