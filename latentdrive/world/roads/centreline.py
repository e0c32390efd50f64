"""Centrelines: curves along which straight roads are bent, and which the ego of a decorrelated drive follows.

The lowest module of the world. Traffic is simulated in road coordinates: s metres along the road, d
metres to its left. A centreline maps them into the plane, so a curved road costs no more to
simulate than a straight one.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64

from latentdrive.geometry import wrap_angle
from latentdrive.types import FROZEN

STEP_M = 0.5  # spacing of the samples; the chord error at 15 m radius is 2 mm
LOCATE_STEPS = 8  # of Newton's method in `locate`
STRAIGHTENING_RAD = 0.9  # a road that has turned this far turns back, so it never meets itself


@dataclass(**FROZEN)
class Centreline:
    """A curve in the plane, sampled every STEP_M metres from s = 0.

    heading: radians, unwrapped. curvature: 1/m, positive in left bends.
    """

    points: Float64[np.ndarray, "S 2"]
    heading: Float64[np.ndarray, "S"]
    curvature: Float64[np.ndarray, "S"]

    @classmethod
    def from_curvature(cls, curvature: Float64[np.ndarray, "S"]) -> "Centreline":
        """Return the curve that starts at the origin along x. curvature: 1/m, one value every STEP_M metres."""
        heading = np.concatenate([[0.0], np.cumsum((curvature[1:] + curvature[:-1]) / 2 * STEP_M)])
        middle = (heading[1:] + heading[:-1]) / 2
        steps = STEP_M * np.stack([np.cos(middle), np.sin(middle)], -1)
        points = np.concatenate([np.zeros((1, 2)), np.cumsum(steps, 0)])
        return cls(points=points, heading=heading, curvature=curvature)

    @classmethod
    def through(cls, points: Float64[np.ndarray, "n 2"], *, smooth_m: float) -> "Centreline":
        """Return the curve through a polyline (metres), with the heading smoothed over smooth_m metres."""
        steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
        keep = np.concatenate([[True], steps > 1e-6])
        points = points[keep]
        along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
        s = np.arange(0.0, along[-1], STEP_M)
        even = np.stack([np.interp(s, along, points[:, axis]) for axis in (0, 1)], -1)
        tangent = np.gradient(even, axis=0)
        heading = _smooth(np.unwrap(np.arctan2(tangent[:, 1], tangent[:, 0])), round(smooth_m / STEP_M))
        # Integrating the smoothed heading keeps position and heading consistent: the rear axle never slides sideways.
        line = cls.from_curvature(np.gradient(heading, STEP_M))
        turn = heading[0]
        rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        return cls(points=even[0] + line.points @ rotation.T, heading=line.heading + turn, curvature=line.curvature)

    @property
    def length_m(self) -> float:
        """Length from the first sample to the last, in metres."""
        return (len(self.heading) - 1) * STEP_M

    def place(self, road: Float[np.ndarray, "*n 3"]) -> Float64[np.ndarray, "*n 3"]:
        """Map poses from road coordinates into the plane.

        road: s and d in metres, and the heading relative to the road in radians. Beyond its ends
        the road continues straight. An object that moves along its heading in road coordinates also
        does so in the plane.
        """
        s, d, turn = road[..., 0], road[..., 1], road[..., 2]
        grid = np.arange(len(self.heading)) * STEP_M
        heading = np.interp(s, grid, self.heading)
        beyond = s - np.clip(s, 0.0, self.length_m)
        x = np.interp(s, grid, self.points[:, 0]) + beyond * np.cos(heading) - d * np.sin(heading)
        y = np.interp(s, grid, self.points[:, 1]) + beyond * np.sin(heading) + d * np.cos(heading)
        along, left = self.stretch(s, d) * np.cos(turn), np.sin(turn)
        return np.stack([x, y, wrap_angle(heading + np.arctan2(left, along))], -1)

    def locate(self, pose: Float[np.ndarray, "3"]) -> Float64[np.ndarray, "3"]:
        """Map a pose from the plane into road coordinates: the inverse of `place`, for places nearer than any centre
        of curvature.
        """
        s, d = np.array([np.argmin(np.hypot(*(self.points - pose[:2]).T)) * STEP_M]), np.zeros(1)
        for _ in range(LOCATE_STEPS):
            along, d, _ = self._seen_from(s, pose)
            s = s + along / self.stretch(s, d)
        _, d, turn = self._seen_from(s, pose)
        turn = np.arctan2(np.sin(turn) * self.stretch(s, d), np.cos(turn))
        return np.concatenate([s, d, turn])

    def _seen_from(self, s: Float64[np.ndarray, "1"], pose: Float[np.ndarray, "3"]) -> tuple[np.ndarray, ...]:
        """A pose as seen from the curve at s metres: ahead, to the left, and turned; one value each."""
        x, y, heading = self.place(np.concatenate([s, np.zeros(2)])[None]).T
        dx, dy, cos, sin = pose[0] - x, pose[1] - y, np.cos(heading), np.sin(heading)
        return dx * cos + dy * sin, dy * cos - dx * sin, pose[2] - heading

    def stretch(self, s: Float[np.ndarray, "*n"], d: Float[np.ndarray, "*n"]) -> Float64[np.ndarray, "*n"]:
        """Metres travelled at offset d for each metre of s: fewer than 1 inside a curve, more outside."""
        return 1.0 - self.curvature_at(s) * d

    def curvature_at(self, s: Float[np.ndarray, "*n"]) -> Float64[np.ndarray, "*n"]:
        """Curvature at s metres, in 1/m; 0 beyond the ends."""
        grid = np.arange(len(self.heading)) * STEP_M
        return np.interp(s, grid, self.curvature, left=0.0, right=0.0)

    def speed_limit(self, *, lateral_mps2: float, yaw_rate: float, braking_mps2: float, step_m: float) -> "SpeedLimit":
        """Return the comfortable speed every step_m metres, for both directions of travel.

        lateral_mps2, yaw_rate (rad/s): the largest comfortable values. braking_mps2: the
        deceleration before a curve.
        """
        s = np.arange(0.0, self.length_m + step_m, step_m)
        bend = np.maximum(np.abs(self.curvature_at(s)), 1e-4)
        limit = np.minimum(np.sqrt(lateral_mps2 / bend), yaw_rate / bend)
        forward, backward = limit.copy(), limit.copy()
        gain = 2 * braking_mps2 * step_m
        for index in range(len(s) - 2, -1, -1):
            forward[index] = min(forward[index], np.sqrt(forward[index + 1] ** 2 + gain))
        for index in range(1, len(s)):
            backward[index] = min(backward[index], np.sqrt(backward[index - 1] ** 2 + gain))
        return SpeedLimit(forward_mps=forward, backward_mps=backward, step_m=step_m)


@dataclass(**FROZEN)
class SpeedLimit:
    """Comfortable speeds in m/s, one every step_m metres: `forward_mps` for growing s, `backward_mps` for falling s."""

    forward_mps: Float64[np.ndarray, "n"]
    backward_mps: Float64[np.ndarray, "n"]
    step_m: float

    def at(self, s: float, *, forward: bool) -> float:
        """Comfortable speed at s metres, in m/s. Beyond the ends the nearest sample counts."""
        values = self.forward_mps if forward else self.backward_mps
        return float(values[min(max(int(s / self.step_m), 0), len(values) - 1)])


def random_curvature(
    rng: np.random.Generator,
    *,
    length_m: float,
    radius_m: tuple[float, float],
    bend_m: tuple[float, float],
    straight_m: tuple[float, float],
    ramp_m: float,
) -> Float64[np.ndarray, "S"]:
    """Draw the curvature (1/m, one value every STEP_M metres) of a road that alternates straights and bends.

    The ranges are (smallest, largest). radius_m: radius of a bend, drawn uniformly in curvature.
    bend_m, straight_m: lengths of a bend and of a straight. ramp_m: the length over which the
    curvature changes linearly.
    """
    pieces, heading = [], 0.0
    while sum(map(len, pieces)) * STEP_M < length_m:
        pieces.append(np.zeros(round(rng.uniform(*straight_m) / STEP_M)))
        curvature = rng.uniform(1 / radius_m[1], 1 / radius_m[0])
        sign = -np.sign(heading) if abs(heading) > STRAIGHTENING_RAD else rng.choice([-1.0, 1.0])
        bend = min(rng.uniform(*bend_m), 1.2 / curvature)
        heading += sign * curvature * bend
        pieces.append(np.full(round(bend / STEP_M), sign * curvature))
    return _smooth(np.concatenate(pieces)[: round(length_m / STEP_M)], round(ramp_m / STEP_M))


def _smooth(values: Float64[np.ndarray, "n"], window: int) -> Float64[np.ndarray, "n"]:
    """Moving average over `window` samples; the end values are repeated beyond the ends."""
    window = max(1, window | 1)
    padded = np.pad(values, window // 2, mode="edge")
    return np.convolve(padded, np.full(window, 1 / window), mode="valid")
