"""A spinning LiDAR: rays against the ground and upright boxes, without a renderer.

Since all boxes are upright, the intersection of a ray with a box is computed in the plane, once for
each column of rays. The height at which a ray arrives there is then compared for each ring.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64

from latentdrive.boxes import corners
from latentdrive.geometry import wrap_angle
from latentdrive.types import FROZEN

GROUND_SHINE, BOX_SHINE = 0.25, 0.6  # reflected share of the light
WEAKENS_M = 60.0  # intensity falls to 1/e over this distance


@dataclass(**FROZEN)
class LidarSpec:
    """A LiDAR on the car.

    forward_m, up_m: position relative to the rear axle. rings: number of rings, with elevations
    from low_deg to high_deg. columns: rays of a ring in one turn. reach_m: farther returns are
    lost. noise_m: standard deviation of a range.
    """

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
    """Return the points of one turn: x, y, z in the ego frame, intensity in [0, 255], ring, and LiDAR number (0).

    The origin is on the ground below the rear axle. ego: pose of the rear axle in the plane. boxes:
    x, y, heading, height of the foot, length, width, height, in the same plane.
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
    """Boxes within reach, with poses in the axes of the sensor, without those that contain the sensor."""
    cos, sin = np.cos(ego[2]), np.sin(ego[2])
    x, y = boxes[:, 0] - ego[0], boxes[:, 1] - ego[1]
    local = boxes.copy()
    local[:, 0], local[:, 1] = cos * x + sin * y - spec.forward_m, cos * y - sin * x
    local[:, 2] = boxes[:, 2] - ego[2]
    near = np.hypot(local[:, 0], local[:, 1]) - np.hypot(boxes[:, 4], boxes[:, 5]) / 2 < spec.reach_m
    local = local[near]  # without absent agents, since NaN compares false
    cos, sin = np.cos(local[:, 2]), np.sin(local[:, 2])
    along, aside = cos * local[:, 0] + sin * local[:, 1], cos * local[:, 1] - sin * local[:, 0]
    around = (np.abs(along) <= local[:, 4] / 2) & (np.abs(aside) <= local[:, 5] / 2)
    return local[~around]


def _nearest_sides(
    boxes: Float64[np.ndarray, "K 7"], slopes: Float64[np.ndarray, "R"], spec: LidarSpec
) -> tuple[np.ndarray, Float64[np.ndarray, "n R"]]:
    """Columns of rays that meet a box, and the distance in the plane for each ring; infinity where
    the ray misses the box.
    """
    x, y = np.moveaxis(corners(boxes[:, :3], boxes[:, 4:6]), -1, 0)
    middle = np.arctan2(boxes[:, 1], boxes[:, 0])
    spread = np.abs(wrap_angle(np.arctan2(y, x) - middle[:, None])).max(1)
    step = 2 * np.pi / spec.columns
    first, last = np.ceil((middle - spread) / step).astype(int), np.floor((middle + spread) / step).astype(int)
    count = np.maximum(last - first + 1, 0)
    box = np.repeat(np.arange(len(boxes)), count)
    column = np.concatenate([np.arange(a, a + n) for a, n in zip(first, count)]) if len(boxes) else np.zeros(0, int)
    azimuth = column * step
    met = boxes[box]
    turn = azimuth - met[:, 2]
    ahead = np.stack([np.cos(turn), np.sin(turn)], -1)
    c, s = np.cos(met[:, 2]), np.sin(met[:, 2])
    origin = np.stack([-(c * met[:, 0] + s * met[:, 1]), s * met[:, 0] - c * met[:, 1]], -1)
    ahead = np.where(np.abs(ahead) < 1e-12, 1e-12, ahead)
    through = np.stack([(side * met[:, 4:6] / 2 - origin) / ahead for side in (-1.0, 1.0)])
    enter, leave = through.min(0).max(-1)[:, None], through.max(0).min(-1)[:, None]
    low, high = met[:, 3, None], (met[:, 3] + met[:, 6])[:, None]
    height = spec.up_m + enter * slopes
    lid = np.where(height > high, high, low)
    with np.errstate(divide="ignore", invalid="ignore"):
        # A ray that arrives above or below the box may meet its top or its foot.
        capped = (lid - spec.up_m) / slopes
    on_side = (height >= low) & (height <= high)
    along = np.where(on_side, enter, np.where((capped > enter) & (capped < leave), capped, np.inf))
    return column % spec.columns, np.where((enter < leave) & (enter > 0), along, np.inf)
