"""A spinning LiDAR: rays cast against boxes and the ground, without a renderer.

Beside cameras.py in the NAVSIM world. Everything that stands or drives is an upright box, so a ray's way is found in the plane
once for each column of rays, and its height decides for each ring.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64

from latentdrive.geometry import wrap_angle
from latentdrive.types import FROZEN

GROUND_SHINE, BOX_SHINE = 0.25, 0.6  # share of the light that comes back
WEAKENS_M = 60.0  # intensity falls to 1/e over this distance


@dataclass(**FROZEN)
class LidarSpec:
    """forward_m, up_m: from the rear axle. rings: how many, between the elevations low_deg and high_deg. columns: rays a turn.
    reach_m: farther returns are lost. noise_m: standard deviation of a range."""

    forward_m: float
    up_m: float
    rings: int
    low_deg: float
    high_deg: float
    columns: int
    reach_m: float
    noise_m: float


def scan(
    rng: np.random.Generator, spec: LidarSpec, ego: Float64[np.ndarray, "3"], boxes: Float64[np.ndarray, "M 7"]
) -> Float32[np.ndarray, "6 N"]:
    """One turn: x, y, z in the ego frame (rear axle, on the ground), intensity in [0, 255], ring, number of the LiDAR (0).

    ego: x, y, heading in the plane. boxes: x, y, heading, height of the foot, length, width, height, in the same plane.
    """
    slopes = np.tan(np.radians(np.linspace(spec.low_deg, spec.high_deg, spec.rings)))
    azimuths = 2 * np.pi * np.arange(spec.columns) / spec.columns
    ground = np.where(slopes < 0, -spec.up_m / np.minimum(slopes, -1e-9), np.inf)
    ranges = np.tile(ground, (spec.columns, 1))
    local = _seen_from(ego, spec, boxes)
    columns, along = _nearest_sides(local, slopes, spec)
    on_box = np.full(ranges.shape, np.inf)
    np.minimum.at(on_box, columns, along)
    hit = on_box < ranges
    ranges = np.where(hit, on_box, ranges)
    slant = ranges * np.hypot(1.0, slopes)
    column, ring = np.nonzero(slant < spec.reach_m)
    distance = slant[column, ring]
    share = (distance + rng.normal(0.0, spec.noise_m, len(distance))) / distance
    flat = ranges[column, ring] * share
    shine = np.where(hit[column, ring], BOX_SHINE, GROUND_SHINE) * np.exp(-distance / WEAKENS_M)
    return np.stack(
        [
            spec.forward_m + flat * np.cos(azimuths[column]),
            flat * np.sin(azimuths[column]),
            spec.up_m + flat * slopes[ring],
            255 * shine * rng.uniform(0.8, 1.2, len(shine)),
            ring,
            np.zeros(len(ring)),
        ]
    ).astype(np.float32)


def _seen_from(
    ego: Float64[np.ndarray, "3"], spec: LidarSpec, boxes: Float64[np.ndarray, "M 7"]
) -> Float64[np.ndarray, "K 7"]:
    """Boxes near enough to return anything, their poses in the sensor's axes."""
    cos, sin = np.cos(ego[2]), np.sin(ego[2])
    x, y = boxes[:, 0] - ego[0], boxes[:, 1] - ego[1]
    local = boxes.copy()
    local[:, 0], local[:, 1] = cos * x + sin * y - spec.forward_m, cos * y - sin * x
    local[:, 2] = boxes[:, 2] - ego[2]
    near = np.hypot(local[:, 0], local[:, 1]) - np.hypot(boxes[:, 4], boxes[:, 5]) / 2 < spec.reach_m
    local = local[near]  # NaN compares false: absent agents are left out
    cos, sin = np.cos(local[:, 2]), np.sin(local[:, 2])
    along, aside = cos * local[:, 0] + sin * local[:, 1], cos * local[:, 1] - sin * local[:, 0]
    around = (np.abs(along) <= local[:, 4] / 2) & (np.abs(aside) <= local[:, 5] / 2)
    return local[~around]  # what the sensor is inside of hides nothing


def _nearest_sides(
    boxes: Float64[np.ndarray, "K 7"], slopes: Float64[np.ndarray, "R"], spec: LidarSpec
) -> tuple[np.ndarray, Float64[np.ndarray, "n R"]]:
    """Columns of rays that meet a box, and for each ring how far away in the plane; infinite where it passes by."""
    corners = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]) * boxes[:, None, 4:6] / 2
    cos, sin = np.cos(boxes[:, 2])[:, None], np.sin(boxes[:, 2])[:, None]
    x = boxes[:, None, 0] + cos * corners[..., 0] - sin * corners[..., 1]
    y = boxes[:, None, 1] + sin * corners[..., 0] + cos * corners[..., 1]
    middle = np.arctan2(boxes[:, 1], boxes[:, 0])
    spread = np.abs(wrap_angle(np.arctan2(y, x) - middle[:, None])).max(1)
    step = 2 * np.pi / spec.columns
    first, last = np.ceil((middle - spread) / step).astype(int), np.floor((middle + spread) / step).astype(int)
    count = np.maximum(last - first + 1, 0)
    box = np.repeat(np.arange(len(boxes)), count)
    column = np.concatenate([np.arange(a, a + n) for a, n in zip(first, count)]) if len(boxes) else np.zeros(0, int)
    azimuth = column * step
    one = boxes[box]
    turn = azimuth - one[:, 2]
    ahead = np.stack([np.cos(turn), np.sin(turn)], -1)
    c, s = np.cos(one[:, 2]), np.sin(one[:, 2])
    origin = np.stack([-(c * one[:, 0] + s * one[:, 1]), s * one[:, 0] - c * one[:, 1]], -1)
    ahead = np.where(np.abs(ahead) < 1e-12, 1e-12, ahead)
    through = np.stack([(side * one[:, 4:6] / 2 - origin) / ahead for side in (-1.0, 1.0)])
    enter, leave = through.min(0).max(-1)[:, None], through.max(0).min(-1)[:, None]
    low, high = one[:, 3, None], (one[:, 3] + one[:, 6])[:, None]
    height = spec.up_m + enter * slopes
    lid = np.where(height > high, high, low)
    with np.errstate(divide="ignore", invalid="ignore"):
        capped = (
            lid - spec.up_m
        ) / slopes  # where a ray that comes in above or below the box meets its top or its foot
    on_side = (height >= low) & (height <= high)
    along = np.where(on_side, enter, np.where((capped > enter) & (capped < leave), capped, np.inf))
    return column % spec.columns, np.where((enter < leave) & (enter > 0), along, np.inf)
