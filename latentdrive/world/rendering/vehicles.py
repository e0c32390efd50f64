"""Road users and traffic lights as meshes: boxes for bodies, windows, wheels, lamps and shadows.

The body of a vehicle is a table of parts, in shares of its length, width and height. cameras.py
renders the meshes.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from latentdrive.types import FROZEN
from latentdrive.world.rendering.meshes import Layer, Mesh, Workbench

PAINTS = np.array(
    [[0.85, 0.85, 0.87], [0.12, 0.12, 0.14], [0.5, 0.52, 0.55], [0.65, 0.1, 0.1], [0.12, 0.25, 0.55], [0.2, 0.4, 0.25],
     [0.9, 0.75, 0.15], [0.75, 0.4, 0.15], [0.35, 0.2, 0.15], [0.55, 0.7, 0.8]]
)  # fmt: skip
GLASS, TYRE = np.array([0.16, 0.2, 0.25]), np.array([0.06, 0.06, 0.06])
HEADLIGHT, TAILLIGHT = np.array([1.6, 1.55, 1.3]), np.array([1.35, 0.1, 0.08])
SKIN = np.array([0.85, 0.65, 0.5])
LAMPS = {  # colour, height of the lamp's foot in metres
    "red": (np.array([1.7, 0.1, 0.08]), 3.87),
    "amber": (np.array([1.7, 1.0, 0.1]), 3.46),
    "green": (np.array([0.1, 1.5, 0.5]), 3.05),
}
WHEEL_M, LAMP_M = (0.66, 0.24, 0.62), (0.08, 0.34, 0.2)
SHADOW, SHADOW_RIM_M = np.array([0.09, 0.09, 0.09]), 0.12


@dataclass(**FROZEN)
class Part:
    """A box of a body, in shares of the vehicle's size.

    surface: paint, glass or load. x: its centre ahead of the vehicle's centre. low, high: heights
    of its foot and its top. taper: by how much its top is smaller than its foot.
    """

    surface: str
    x: float = 0.0
    length: float = 1.0
    width: float = 1.0
    low: float
    high: float
    taper: float = 0.0


BODIES = {
    "car": (
        Part(surface="paint", low=0.19, high=0.70),
        Part(surface="glass", x=-0.04, length=0.56, width=0.94, low=0.70, high=0.94, taper=0.2),
        Part(surface="paint", x=-0.04, length=0.43, width=0.74, low=0.94, high=1.0),
    ),
    "van": (
        Part(surface="paint", low=0.13, high=0.55),
        Part(surface="glass", length=0.97, width=0.99, low=0.55, high=0.85),
        Part(surface="paint", length=0.98, low=0.85, high=1.0),
    ),
    "truck": (
        Part(surface="paint", x=0.38, length=0.24, low=0.15, high=0.6),
        Part(surface="glass", x=0.38, length=0.23, width=0.96, low=0.6, high=0.85, taper=0.1),
        Part(surface="load", x=-0.13, length=0.74, low=0.27, high=1.0),
    ),
    "bus": (
        Part(surface="paint", low=0.1, high=0.5),
        Part(surface="glass", length=0.98, width=0.99, low=0.5, high=0.85),
        Part(surface="paint", length=0.99, low=0.85, high=1.0),
    ),
}


def road_user(rng: np.random.Generator, size: Float64[np.ndarray, "3"], kind: str, daylight: float) -> list[Mesh]:
    """Build a vehicle or a pedestrian at the origin, facing along x. size: length, width, height in metres."""
    return pedestrian(rng, size, daylight) if kind == "pedestrian" else vehicle(rng, size, kind, daylight)


def pedestrian(rng: np.random.Generator, size: Float64[np.ndarray, "3"], daylight: float) -> list[Mesh]:
    """Build a pedestrian at the origin who walks along x: legs, body and head, in random colours."""
    bench = Workbench()
    clothes = PAINTS[rng.integers(len(PAINTS), size=2)] * daylight
    middle = np.zeros((1, 3))
    for colour, low, high, share in (
        (clothes[0], 0.0, 0.48, 0.6),
        (clothes[1], 0.48, 0.84, 0.9),
        (SKIN * daylight, 0.86, 1.0, 0.38),
    ):
        box = np.array([[share * size[0], share * size[1], (high - low) * size[2]]])
        bench.boxes("plain", middle, box, base_m=low * size[2], colours=colour[None], tile_m=1.0)
    flat = np.array([[1, -1], [1, 1], [-1, 1], [-1, -1]]) * size[:2] / 2
    bench.quads(Layer.SHADOWS, "plain", np.append(flat, np.zeros((4, 1)), 1)[None], np.zeros((1, 4, 2)), SHADOW[None])
    return bench.meshes()


def signal(colour: str, daylight: float) -> list[Mesh]:
    """Build a traffic light at the origin, facing against x, that shows one colour: a post, a dark box and a lamp."""
    bench = Workbench()
    middle = np.zeros((1, 3))
    grey = np.full((1, 3), 0.25) * daylight
    bench.boxes("plain", middle, np.array([[0.14, 0.14, 3.0]]), base_m=0.0, colours=grey, tile_m=1.0)
    bench.boxes("plain", middle, np.array([[0.3, 0.5, 1.3]]), base_m=3.0, colours=0.4 * grey, tile_m=1.0)
    lamp, low = LAMPS[colour]
    bench.boxes(
        "plain",
        np.array([[-0.16, 0.0, 0.0]]),
        np.array([[0.06, 0.36, 0.36]]),
        base_m=low,
        colours=lamp[None],
        tile_m=1.0,
    )
    return bench.meshes()


def vehicle(rng: np.random.Generator, size: Float64[np.ndarray, "3"], kind: str, daylight: float) -> list[Mesh]:
    """Build a vehicle at the origin, facing along x, in random colours. size: length, width, height in metres."""
    bench = Workbench()
    length, width, height = size
    paint, load = PAINTS[rng.integers(len(PAINTS), size=2)] * daylight
    colours = {"paint": paint, "glass": GLASS * daylight, "load": load}
    for part in BODIES[kind]:
        box = np.array([[part.length * length, part.width * width, (part.high - part.low) * height]])
        bench.boxes(
            "kerb" if part.surface == "load" else "plain",
            np.array([[part.x * length, 0.0, 0.0]]),
            box,
            base_m=part.low * height,
            colours=colours[part.surface][None],
            tile_m=1.5,
            taper=part.taper,
        )
    wheels = np.array([[x * length, y * (width / 2 - 0.1), 0.0] for x in (-0.31, 0.31) for y in (-1, 1)])
    bench.boxes(
        "plain", wheels, np.tile(WHEEL_M, (4, 1)), base_m=0.0, colours=np.tile(TYRE, (4, 1)), tile_m=1.0, top=False
    )
    lamps = np.array([[x * length, y * (width / 2 - 0.22), 0.0] for x in (-0.5, 0.5) for y in (-1, 1)])
    lights = np.stack([TAILLIGHT, TAILLIGHT, HEADLIGHT, HEADLIGHT])
    bench.boxes("plain", lamps, np.tile(LAMP_M, (4, 1)), base_m=0.68, colours=lights, tile_m=1.0)
    flat = np.array([[1, -1], [1, 1], [-1, 1], [-1, -1]]) * (size[:2] / 2 + SHADOW_RIM_M)
    corners = np.append(flat, np.zeros((4, 1)), 1)[None]
    bench.quads(Layer.SHADOWS, "plain", corners, np.zeros((1, 4, 2)), SHADOW[None])
    return bench.meshes()
