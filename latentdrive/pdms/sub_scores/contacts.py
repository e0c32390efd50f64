"""Whom the scored car touches, now or within 0.9 s at its present speed, and when first.

After footprint.py; collisions.py and time_to_collision.py judge what is found here. Both ask only about the first contact with each
other road user: an at-fault one decides, any other one makes the devkit ignore that road user for good (6.2, 6.6). Boxes are
compared where circles around them overlap.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from latentdrive.pdms.batch import MapBatch, TrackBatch
from latentdrive.pdms.scene import STEP_S
from latentdrive.pdms.sub_scores.footprint import HALF_LENGTH_M, HALF_WIDTH_M, EgoAreas, Footprint
from latentdrive.types import FROZEN

AHEAD = (0, 3, 6, 9)  # steps that the car is moved on with its present speed, in the order they are looked at
CIRCLE_M = 0.05  # added to the sum of both radii: rounding, in float32 there, must not lose a contact
NEVER = 1 << 30
AHEAD_DEG, BEHIND_DEG = 30.0, 150.0
LISTS = ("scene", "step", "trajectory", "track", "ahead")  # of a Contacts


@dataclass(**FROZEN)
class Contacts:
    """Pairs of boxes that touch, C of them: scene, step, trajectory, track, and steps ahead (index into AHEAD); shape: how many scenes,
    trajectories and tracks there are."""

    scene: Int64[Tensor, "C"]
    step: Int64[Tensor, "C"]
    trajectory: Int64[Tensor, "C"]
    track: Int64[Tensor, "C"]
    ahead: Int64[Tensor, "C"]
    shape: tuple[int, int, int]

    def __len__(self) -> int:
        return len(self.scene)

    def __getitem__(self, kept: Tensor | slice) -> "Contacts":
        return Contacts(**{name: getattr(self, name)[kept] for name in LISTS}, shape=self.shape)

    def first_each(self) -> "Contacts":
        """The first contact of each trajectory with each track."""
        if not len(self):
            return self
        scenes, trajectories, tracks = self.shape
        pair = (self.scene * trajectories + self.trajectory) * tracks + self.track
        order = self.step * len(AHEAD) + self.ahead
        first = order.new_full((scenes * trajectories * tracks,), NEVER).scatter_reduce_(0, pair, order, "amin")
        return self[order == first[pair]]

    def followed_by(self, other: "Contacts") -> "Contacts":
        """Both, one behind the other."""
        both = {name: torch.cat([getattr(self, name), getattr(other, name)]) for name in LISTS}
        return Contacts(**both, shape=self.shape)

    def first_of_each_trajectory(self, values: Int64[Tensor, "C"]) -> Int64[Tensor, "B M"]:
        """The smallest value among the contacts of each trajectory; NEVER where it has none."""
        scenes, trajectories, _ = self.shape
        place = self.scene * trajectories + self.trajectory
        least = values.new_full((scenes * trajectories,), NEVER).scatter_reduce_(0, place, values, "amin")
        return least.view(scenes, trajectories)


@dataclass(**FROZEN)
class Circumstances:
    """What decides whose fault a contact is. speed: of the car; bearing_deg: see `bearing_deg`; outside: the car is in several lanes or off
    the road; at_junction: its rear axle is in an intersection."""

    speed: Float[Tensor, "C"]
    bearing_deg: Float[Tensor, "C"]
    outside: Bool[Tensor, "C"]
    at_junction: Bool[Tensor, "C"]

    def __getitem__(self, kept: Tensor | slice) -> "Circumstances":
        names = ("speed", "bearing_deg", "outside", "at_junction")
        return Circumstances(**{name: getattr(self, name)[kept] for name in names})


def circumstances(
    car: Footprint, tracks: TrackBatch, road: MapBatch, areas: EgoAreas, found: Contacts
) -> Circumstances:
    """Of every contact. Lanes and intersections are asked here, for the few moments that need them."""
    rows = found.scene, found.step, found.trajectory
    then = car.at(rows)
    if not len(found):
        no = torch.zeros_like(then.speed, dtype=torch.bool)
        return Circumstances(speed=then.speed, bearing_deg=then.speed, outside=no, at_junction=no)
    points = torch.cat([then.corners(), then.rear[:, None]], 1)
    words = road.grid.containing(points.reshape(-1, 2), found.scene.repeat_interleave(5)).unflatten(0, (-1, 5))
    first, second, third, fourth = (words[:, :4] & road.lanes[found.scene, None]).unbind(1)
    any_corner, all_corners = first | second | third | fourth, first & second & third & fourth
    two_in_a_word = ((any_corner & (any_corner - 1)) != 0).any(-1)
    several_lanes = (two_in_a_word | ((any_corner != 0).sum(-1) > 1)) & (all_corners == 0).all(-1)
    return Circumstances(
        speed=then.speed,
        bearing_deg=bearing_deg(car, tracks, found),
        outside=several_lanes | areas.off_road[rows],
        at_junction=((words[:, 4] & road.intersections.mask[found.scene]) != 0).any(-1),
    )


def contacts(car: Footprint, tracks: TrackBatch, ttc_steps: int) -> Contacts:
    """All contacts: at every step, and ahead of the first `ttc_steps` steps."""
    steps, device = car.speed.shape[1], car.speed.device
    ahead, step = _moments(steps, ttc_steps, device)
    way = car.speed[:, step] * (torch.tensor(AHEAD, device=device)[ahead] * STEP_S)[:, None]
    x = car.centre[..., 0][:, step] + way * car.cos[:, step]
    y = car.centre[..., 1][:, step] + way * car.sin[:, step]
    later = step + torch.tensor(AHEAD, device=device)[ahead]
    radius = tracks.half.norm(dim=-1) + (HALF_LENGTH_M**2 + HALF_WIDTH_M**2) ** 0.5 + CIRCLE_M
    near = _near(x, y, tracks.centre[:, later], tracks.present[:, later], radius)
    scene, moment, trajectory, track = torch.nonzero(near, as_tuple=True)
    step, later = step[moment], later[moment]
    # One index into a flat tensor is several times faster than three into a deep one.
    moved = (scene * x.shape[1] + moment) * x.shape[2] + trajectory
    place = (scene * steps + step) * x.shape[2] + trajectory
    other = (scene * tracks.centre.shape[1] + later) * tracks.centre.shape[2] + track
    touching = _boxes_touch(
        tracks.centre.view(-1, 2)[other] - torch.stack([x.view(-1)[moved], y.view(-1)[moved]], -1),
        (car.cos.reshape(-1)[place], car.sin.reshape(-1)[place]),
        (tracks.cos.view(-1)[other], tracks.sin.view(-1)[other]),
        torch.tensor([HALF_LENGTH_M, HALF_WIDTH_M], dtype=x.dtype, device=device),
        tracks.half.view(-1, 2)[scene * tracks.half.shape[1] + track],
    )
    shape = (*x.shape[::2], tracks.half.shape[1])
    found = Contacts(scene=scene, step=step, trajectory=trajectory, track=track, ahead=ahead[moment], shape=shape)
    return found[touching]


@lru_cache(maxsize=8)
def _moments(steps: int, ttc_steps: int, device: torch.device) -> tuple[Int64[Tensor, "K"], Int64[Tensor, "K"]]:
    """What is looked at: index into AHEAD, and the step that it is ahead of."""
    pairs = [(number, k) for number, ahead in enumerate(AHEAD) for k in range(steps if ahead == 0 else ttc_steps)]
    ahead, step = zip(*pairs)
    return torch.tensor(ahead, device=device), torch.tensor(step, device=device)


def _near(
    x: Float[Tensor, "B K M"],
    y: Float[Tensor, "B K M"],
    other: Float[Tensor, "B K N 2"],
    present: Bool[Tensor, "B K N"],
    radius: Float[Tensor, "B N"],
) -> Bool[Tensor, "B K M N"]:
    """Where circles overlap: |a|^2 - 2 a b + |b|^2 - r^2 <= 0 as one matrix product, on a CPU in float32 (a GPU may cut that to TF32)."""
    if x.device.type == "cpu":
        x, y, other, radius = x.float(), y.float(), other.float(), radius.float()
    rest = (other**2).sum(-1) - radius[:, None] ** 2
    rest = torch.where(present, rest, torch.inf)
    left = torch.stack([-2 * x, -2 * y, x * x + y * y, torch.ones_like(x)], -1)
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


def bearing_deg(car: Footprint, tracks: TrackBatch, found: Contacts) -> Float[Tensor, "C"]:
    """Angle between the car's heading and the way from its rear axle, not moved on, to the middle of the other box at the contact.

    Not clamped: where rounding makes the cosine exceed 1 the angle is NaN, and the other one neither ahead nor behind (trap 4). For a
    lead exactly ahead that hangs on the last bit, so sums of products are rounded once, as the reference's linear algebra does.
    """
    rows = found.scene, found.step, found.trajectory
    later = found.step + torch.tensor(AHEAD, device=found.step.device)[found.ahead]
    way = tracks.middle[found.scene, later, found.track] - car.rear[rows]
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
