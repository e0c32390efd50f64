"""Whom the scored car touches, now or within 0.9 s at its present speed, and when first.

After footprint.py; collisions.py and time_to_collision.py judge what is found here. Both ask only about the first contact with each
other road user: an at-fault one decides, any other one makes the devkit ignore that road user for good (6.2, 6.6). Boxes are
compared where circles around them overlap.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from latentdrive.pdms.batch import TrackBatch
from latentdrive.pdms.footprint import HALF_LENGTH_M, HALF_WIDTH_M, Footprint
from latentdrive.pdms.scene import STEP_S
from latentdrive.types import FROZEN

AHEAD = (0, 3, 6, 9)  # steps that the car is moved on with its present speed, in the order they are looked at
CIRCLE_M = 1e-3  # added to the sum of both radii: rounding must not lose a contact
NEVER = 1 << 30
AHEAD_DEG, BEHIND_DEG = 30.0, 150.0


@dataclass(**FROZEN)
class Contacts:
    """Pairs of boxes that touch, C of them: scene, step, trajectory, track, and steps ahead (index into AHEAD)."""

    scene: Int64[Tensor, "C"]
    step: Int64[Tensor, "C"]
    trajectory: Int64[Tensor, "C"]
    track: Int64[Tensor, "C"]
    ahead: Int64[Tensor, "C"]

    def __getitem__(self, kept: Tensor) -> "Contacts":
        names = ("scene", "step", "trajectory", "track", "ahead")
        return Contacts(**{name: getattr(self, name)[kept] for name in names})

    def first_each(self, shape: tuple[int, int, int]) -> "Contacts":
        """The first contact of each trajectory with each track. shape: scenes, trajectories, tracks."""
        pair = (self.scene * shape[1] + self.trajectory) * shape[2] + self.track
        order = self.step * len(AHEAD) + self.ahead
        first = order.new_full((shape[0] * shape[1] * shape[2],), NEVER).scatter_reduce_(0, pair, order, "amin")
        return self[order == first[pair]]


def contacts(car: Footprint, tracks: TrackBatch, ttc_steps: int) -> Contacts:
    """All contacts: at every step, and ahead of the first `ttc_steps` steps."""
    found = []
    radius = tracks.half.norm(dim=-1) + (HALF_LENGTH_M**2 + HALF_WIDTH_M**2) ** 0.5 + CIRCLE_M
    for number, ahead in enumerate(AHEAD):
        steps = car.centre.shape[1] if ahead == 0 else ttc_steps
        way = (car.speed[:, :steps] * (ahead * STEP_S))[..., None]
        centre = car.centre[:, :steps] + way * torch.stack([car.cos[:, :steps], car.sin[:, :steps]], -1)
        near = _near(centre, tracks.centre[:, ahead : ahead + steps], tracks.present[:, ahead : ahead + steps], radius)
        scene, step, trajectory, track = torch.nonzero(near, as_tuple=True)
        rows = scene, step, trajectory
        touching = _boxes_touch(
            tracks.centre[scene, step + ahead, track] - centre[rows],
            (car.cos[rows], car.sin[rows]),
            (tracks.cos[scene, step + ahead, track], tracks.sin[scene, step + ahead, track]),
            torch.tensor([HALF_LENGTH_M, HALF_WIDTH_M], dtype=centre.dtype, device=centre.device),
            tracks.half[scene, track],
        )
        kept = [one[touching] for one in (scene, step, trajectory, track)]
        found.append((*kept, torch.full_like(kept[0], number)))
    scene, step, trajectory, track, ahead = (torch.cat(part) for part in zip(*found))
    return Contacts(scene=scene, step=step, trajectory=trajectory, track=track, ahead=ahead)


def _near(
    centre: Float[Tensor, "B T M 2"],
    other: Float[Tensor, "B T N 2"],
    present: Bool[Tensor, "B T N"],
    radius: Float[Tensor, "B N"],
) -> Bool[Tensor, "B T M N"]:
    """Where circles overlap: |a|^2 - 2 a b + |b|^2 - r^2 <= 0 as one matrix product."""
    rest = (other**2).sum(-1) - radius[:, None] ** 2
    rest = torch.where(present, rest, torch.inf)
    left = torch.cat([-2 * centre, (centre**2).sum(-1, keepdim=True), torch.ones_like(centre[..., :1])], -1)
    right = torch.stack([other[..., 0], other[..., 1], torch.ones_like(rest), rest], -2)
    return left @ right <= 0


def _boxes_touch(
    way: Float[Tensor, "C 2"],
    own: tuple[Float[Tensor, "C"], Float[Tensor, "C"]],
    other: tuple[Float[Tensor, "C"], Float[Tensor, "C"]],
    own_half: Float[Tensor, "*c 2"],
    other_half: Float[Tensor, "C 2"],
) -> Bool[Tensor, "C"]:
    """Whether two boxes share a point: none of their four axes separates them. own, other: cosine and sine of the headings."""
    (c1, s1), (c2, s2) = own, other
    dx, dy = way[:, 0], way[:, 1]
    l1, w1, l2, w2 = own_half[..., 0], own_half[..., 1], other_half[:, 0], other_half[:, 1]
    along, across = (c1 * c2 + s1 * s2).abs(), (c1 * s2 - s1 * c2).abs()
    touch = (dx * c1 + dy * s1).abs() <= l1 + l2 * along + w2 * across
    touch &= (dy * c1 - dx * s1).abs() <= w1 + l2 * across + w2 * along
    touch &= (dx * c2 + dy * s2).abs() <= l2 + l1 * along + w1 * across
    touch &= (dy * c2 - dx * s2).abs() <= w2 + l1 * across + w1 * along
    return touch


def front_touches(car: Footprint, tracks: TrackBatch, found: Contacts) -> Bool[Tensor, "C"]:
    """Whether the front edge of the car touches the other box."""
    rows = found.scene, found.step, found.trajectory
    other = found.scene, found.step, found.track
    heading = car.cos[rows], car.sin[rows]
    front = car.centre[rows] + HALF_LENGTH_M * torch.stack(heading, -1)
    edge = torch.tensor([0.0, HALF_WIDTH_M], dtype=front.dtype, device=front.device)
    way = tracks.centre[other] - front
    return _boxes_touch(
        way, heading, (tracks.cos[other], tracks.sin[other]), edge, tracks.half[found.scene, found.track]
    )


def bearing_deg(car: Footprint, tracks: TrackBatch, found: Contacts, ahead: Int64[Tensor, "C"]) -> Float[Tensor, "C"]:
    """Angle between the car's heading and the way from its rear axle to the middle of the other box, `ahead` steps later.

    Not clamped: where rounding makes the cosine exceed 1 the angle is NaN, and the other one neither ahead nor behind (trap 4). For a
    lead exactly ahead that hangs on the last bit, so sums of products are rounded once, as the reference's linear algebra does.
    """
    rows = found.scene, found.step, found.trajectory
    way = tracks.middle[found.scene, found.step + ahead, found.track] - car.rear[rows]
    x, y = way[:, 0], way[:, 1]
    square = _fused(y, y, x * x)
    length = square.sqrt()
    length = length + _fused(-length, length, square) / (2 * length)  # torch's own root is an ulp off now and then
    x, y = x / length, y / length
    return torch.rad2deg(torch.arccos(_fused(y, car.sin[rows], x * car.cos[rows])))


def _fused(a: Float[Tensor, "C"], b: Float[Tensor, "C"], c: Float[Tensor, "C"]) -> Float[Tensor, "C"]:
    """a * b + c, rounded once: product and sum with their rounding errors (Dekker 1971, Knuth), added at the end."""
    split = 2.0 ** (27 if a.dtype == torch.float64 else 12) + 1.0
    (a_high, a_low), (b_high, b_low) = (_halves(one, split) for one in (a, b))
    product = a * b
    lost = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low
    total = product + c
    of_c = total - product
    return total + (((product - (total - of_c)) + (c - of_c)) + lost)


def _halves(a: Float[Tensor, "C"], split: float) -> tuple[Float[Tensor, "C"], Float[Tensor, "C"]]:
    high = split * a - (split * a - a)
    return high, a - high
