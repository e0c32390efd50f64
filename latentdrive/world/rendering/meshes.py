"""Meshes of textured, tinted quads, grouped by what the renderer draws in one call.

scenery.py and vehicles.py build them, cameras.py renders them. x and y lie in the plane of the
drive, z points up; metres.
"""

from collections import defaultdict
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from jaxtyping import Float, Float64, UInt32

from latentdrive.types import FROZEN

CELL_M = 60.0  # the renderer culls cells of this size
VERTEX = np.dtype([("position", "<f4", 3), ("colour", "u1", 4), ("texcoord", "<f4", 2)])
SUN = np.array([0.6, -0.8])  # direction from which the light comes, in the plane
ROOF_LIGHT = 1.05  # brightness of roofs; walls get 0.55 to 1
Colour = Float64[np.ndarray, "3"]
Values = float | Float64[np.ndarray, "m"]


class Layer(IntEnum):
    """The order of painting.

    Flat layers are painted in this order without a depth test, so that they do not flicker; SOLID
    has a depth test.
    """

    GROUND = 1
    KERB = 2
    ROAD = 3
    MARKS = 4
    SHADOWS = 5
    SOLID = 6


@dataclass(**FROZEN)
class Mesh:
    """Quads of one layer and texture, with four vertices each, in order around the quad."""

    layer: Layer
    texture: str
    vertices: np.ndarray

    @property
    def triangles(self) -> UInt32[np.ndarray, "n 3"]:
        """Indices of the vertices of the triangles, two for each quad."""
        first = np.arange(0, len(self.vertices), 4, dtype=np.uint32)[:, None]
        return (first + np.array([0, 1, 2, 0, 2, 3], np.uint32)).reshape(-1, 3)


class Workbench:
    """Collects quads, and groups them into meshes: one for each layer, texture and cell of the plane."""

    def __init__(self) -> None:
        self._pieces: dict[tuple[Layer, str], list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = defaultdict(list)
        self._solids: list[Float64[np.ndarray, "m 7"]] = []

    def quads(
        self,
        layer: Layer,
        texture: str,
        corners: Float[np.ndarray, "m 4 3"],
        texcoords: Float[np.ndarray, "m 4 2"],
        colours: Float[np.ndarray, "m 3"],
    ) -> None:
        """Add quads. colours: one for each quad in [0, 1]; larger values are clipped."""
        self._pieces[layer, texture].append((corners, texcoords, colours))

    def ribbon(
        self,
        layer: Layer,
        texture: str,
        left: Float64[np.ndarray, "n 2"],
        right: Float64[np.ndarray, "n 2"],
        *,
        tile_m: float,
        colour: Colour,
    ) -> None:
        """Add a strip on the ground between two lines. The texture spans its width and repeats every tile_m metres."""
        steps = np.linalg.norm(np.diff((left + right) / 2, axis=0), axis=1)
        along = np.concatenate([[0.0], np.cumsum(steps)]) / tile_m
        flat = [np.concatenate([line, np.zeros((len(line), 1))], -1) for line in (left, right)]
        corners = np.stack([flat[1][:-1], flat[1][1:], flat[0][1:], flat[0][:-1]], 1)
        texcoords = np.zeros((len(steps), 4, 2))
        texcoords[:, :2, 0] = 1.0
        texcoords[:, :, 1] = np.stack([along[:-1], along[1:], along[1:], along[:-1]], -1)
        self.quads(layer, texture, corners, texcoords, np.tile(colour, (len(corners), 1)))

    def boxes(
        self,
        texture: str,
        poses: Float[np.ndarray, "m 3"],
        sizes: Float[np.ndarray, "m 3"],
        *,
        base_m: Values,
        colours: Float[np.ndarray, "m 3"],
        tile_m: Values,
        taper: float = 0.0,
        top: bool = True,
    ) -> None:
        """Add upright boxes, shaded by face. poses: x, y, heading of the centres. sizes: length, width, height.

        base_m: height of the foot. tile_m: metres that the texture spans. taper: share by which the
        roof is smaller than the foot. top: whether there is a roof.
        """
        foot = np.broadcast_to(base_m, len(poses))[:, None]
        self._solids.append(np.concatenate([poses, foot, sizes], 1))
        cos, sin = np.cos(poses[:, 2]), np.sin(poses[:, 2])
        turn = np.stack([np.stack([cos, sin], -1), np.stack([-sin, cos], -1)], 1)  # rows: forward, left
        corners = np.array([[0.5, -0.5], [0.5, 0.5], [-0.5, 0.5], [-0.5, -0.5]])
        offsets = (corners * sizes[:, None, :2]) @ turn
        low, high = np.empty((2, len(poses), 4, 3))
        low[..., :2] = poses[:, None, :2] + offsets
        high[..., :2] = poses[:, None, :2] + (1 - taper) * offsets
        low[..., 2] = np.broadcast_to(base_m, len(poses))[:, None]
        high[..., 2] = low[..., 2] + sizes[:, 2:]
        following = [1, 2, 3, 0]
        sides = np.stack([low, low[:, following], high[:, following], high], 2)  # front, left, back, right
        tile = np.broadcast_to(tile_m, len(poses))[:, None]
        texcoords = np.zeros((len(poses), 4, 4, 2))
        texcoords[:, :, 1:3, 0] = (sizes[:, [1, 0, 1, 0]] / tile)[..., None]
        texcoords[:, :, 2:, 1] = (sizes[:, 2:] / tile)[..., None]
        normals = np.array([[1, 0], [0, 1], [-1, 0], [0, -1]]) @ turn
        light = 0.72 + 0.28 * np.clip(normals @ SUN, -0.6, 1)
        shaded = light[..., None] * colours[:, None]
        self.quads(Layer.SOLID, texture, sides.reshape(-1, 4, 3), texcoords.reshape(-1, 4, 2), shaded.reshape(-1, 3))
        if top:
            self.quads(Layer.SOLID, texture, high, np.zeros((len(poses), 4, 2)), ROOF_LIGHT * colours)

    def patch(
        self, layer: Layer, texture: str, ring: Float64[np.ndarray, "n 2"], *, tile_m: float, colour: Colour
    ) -> None:
        """Add a flat area. The whole ring must be visible from the mean of its points."""
        rim = np.concatenate([ring, np.zeros((len(ring), 1))], -1)
        following, middle = np.roll(rim, -1, axis=0), np.broadcast_to(rim.mean(0), rim.shape)
        corners = np.stack([middle, rim, following, following], 1)
        self.quads(layer, texture, corners, corners[..., :2] / tile_m, np.tile(colour, (len(ring), 1)))

    def solids(self) -> Float64[np.ndarray, "m 7"]:
        """Return all boxes: x, y, heading, height of the foot, length, width, height."""
        return np.concatenate(self._solids) if self._solids else np.zeros((0, 7))

    def meshes(self) -> list[Mesh]:
        """Return everything that was added."""
        result = []
        for (layer, texture), pieces in sorted(self._pieces.items(), key=lambda item: item[0]):
            corners, texcoords, colours = (np.concatenate(parts) for parts in zip(*pieces, strict=True))
            vertices = np.empty((len(corners), 4), VERTEX)
            vertices["position"], vertices["texcoord"] = corners, texcoords
            vertices["colour"][..., :3] = np.clip(colours * 255, 0, 255).astype(np.uint8)[:, None]
            vertices["colour"][..., 3] = 255
            cells = np.floor(corners[:, :, :2].mean(1) / CELL_M).astype(int)
            _, number = np.unique(cells, axis=0, return_inverse=True)
            order = np.argsort(number, kind="stable")
            for rows in np.split(order, np.flatnonzero(np.diff(number[order])) + 1):
                result.append(Mesh(layer=layer, texture=texture, vertices=vertices[rows].reshape(-1)))
        return result
