"""Contacts of the scored car with other road users, and the sub-scores NC and TTC, which judge them.

A contact is a step at which the car's box touches another one, where it is or where it would be
within 0.9 s at its present speed. Both sub-scores judge only the first contact with each road user:
if it is an infraction, it decides, and otherwise the devkit ignores that road user from then on
(docs/pdms.md, sections 6.2 and 6.6). Boxes are compared only where circles around them overlap.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from latentdrive.boxes import boxes_touch, moved_ahead
from latentdrive.nuplan_vehicle import HALF_LENGTH_M, HALF_WIDTH_M
from latentdrive.pdms.batch import STANDS_MPS, MapBatch, TrackBatch
from latentdrive.pdms.scene import STEP_S
from latentdrive.pdms.sub_scores.footprint import EgoAreas, Footprint
from latentdrive.types import FROZEN

AHEAD = (0, 3, 6, 9)  # steps that the car is moved ahead at its present speed, in the order in which they are examined
CIRCLE_M = 0.05  # added to the sum of both radii: rounding, in float32 there, must not lose a contact
NEVER = 1 << 30
AHEAD_DEG, BEHIND_DEG = 30.0, 150.0
STATIC_PENALTY = 0.5
TTC_STANDS_MPS = 0.005  # a slower car can't run into a track
LISTS = ("scene", "step", "trajectory", "track", "ahead")  # fields of Contacts that hold one value per contact


@dataclass(**FROZEN)
class Contacts:
    """C pairs of boxes that touch.

    ahead: index into AHEAD. shape: numbers of scenes, trajectories and tracks.
    """

    scene: Int64[Tensor, "C"]
    step: Int64[Tensor, "C"]
    trajectory: Int64[Tensor, "C"]
    track: Int64[Tensor, "C"]
    ahead: Int64[Tensor, "C"]
    shape: tuple[int, int, int]

    def __len__(self) -> int:
        return len(self.scene)

    def __getitem__(self, rows: Tensor | slice) -> "Contacts":
        return Contacts(**{name: getattr(self, name)[rows] for name in LISTS}, shape=self.shape)

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
        """These contacts, then the others."""
        both = {name: torch.cat([getattr(self, name), getattr(other, name)]) for name in LISTS}
        return Contacts(**both, shape=self.shape)

    def first_of_each_trajectory(self, values: Int64[Tensor, "C"]) -> Int64[Tensor, "B M"]:
        """The smallest value among the contacts of each trajectory; NEVER where it has none."""
        scenes, trajectories, _ = self.shape
        place = self.scene * trajectories + self.trajectory
        least = values.new_full((scenes * trajectories,), NEVER).scatter_reduce_(0, place, values, "amin")
        return least.view(scenes, trajectories)

    def earliest(self) -> tuple[Int64[Tensor, "B M"], Int64[Tensor, "B M"]]:
        """Step and track of each trajectory's earliest contact; -1 where it has none.

        At one step, the first track counts.
        """
        count = max(self.shape[2], 1)
        first = self.first_of_each_trajectory(self.step * count + self.track)
        exists = first < NEVER
        return torch.where(exists, first // count, -1), torch.where(exists, first % count, -1)


@dataclass(**FROZEN)
class Circumstances:
    """The facts that decide whose fault each contact is.

    speed: of the car, m/s. bearing_deg: as the function of that name. outside: the car is in
    several lanes or off the road. at_junction: its rear axle is in an intersection.
    """

    speed: Float[Tensor, "C"]
    bearing_deg: Float[Tensor, "C"]
    outside: Bool[Tensor, "C"]
    at_junction: Bool[Tensor, "C"]

    def __getitem__(self, rows: Tensor | slice) -> "Circumstances":
        names = ("speed", "bearing_deg", "outside", "at_junction")
        return Circumstances(**{name: getattr(self, name)[rows] for name in names})


def find_contacts(car: Footprint, tracks: TrackBatch, ttc_steps: int) -> Contacts:
    """All contacts: at every step, and ahead of the first `ttc_steps` steps."""
    steps, device = car.speed.shape[1], car.speed.device
    ahead, step = _moments(steps, ttc_steps, device)
    way = car.speed[:, step] * (torch.tensor(AHEAD, device=device)[ahead] * STEP_S)[:, None]
    x = car.centre[..., 0][:, step] + way * car.cos[:, step]
    y = car.centre[..., 1][:, step] + way * car.sin[:, step]
    later = step + torch.tensor(AHEAD, device=device)[ahead]
    radius = tracks.half.norm(dim=-1) + (HALF_LENGTH_M**2 + HALF_WIDTH_M**2) ** 0.5 + CIRCLE_M
    near = _circles_overlap(x, y, tracks.centre[:, later], tracks.present[:, later], radius)
    scene, moment, trajectory, track = torch.nonzero(near, as_tuple=True)
    step, later = step[moment], later[moment]
    # One index into a flat tensor is several times faster than three into a deep one.
    moved = (scene * x.shape[1] + moment) * x.shape[2] + trajectory
    place = (scene * steps + step) * x.shape[2] + trajectory
    other = (scene * tracks.centre.shape[1] + later) * tracks.centre.shape[2] + track
    touching = boxes_touch(
        tracks.centre.view(-1, 2)[other] - torch.stack([x.view(-1)[moved], y.view(-1)[moved]], -1),
        (car.cos.reshape(-1)[place], car.sin.reshape(-1)[place]),
        (tracks.cos.view(-1)[other], tracks.sin.view(-1)[other]),
        torch.tensor([HALF_LENGTH_M, HALF_WIDTH_M], dtype=x.dtype, device=device),
        tracks.half.view(-1, 2)[scene * tracks.half.shape[1] + track],
    )
    shape = (*x.shape[::2], tracks.half.shape[1])
    pairs = Contacts(scene=scene, step=step, trajectory=trajectory, track=track, ahead=ahead[moment], shape=shape)
    return pairs[touching]


@lru_cache(maxsize=8)
def _moments(steps: int, ttc_steps: int, device: torch.device) -> tuple[Int64[Tensor, "K"], Int64[Tensor, "K"]]:
    """The moments that are examined: an index into AHEAD, and the step that it is ahead of."""
    pairs = [(number, k) for number, ahead in enumerate(AHEAD) for k in range(steps if ahead == 0 else ttc_steps)]
    ahead, step = zip(*pairs)
    return torch.tensor(ahead, device=device), torch.tensor(step, device=device)


def _circles_overlap(
    x: Float[Tensor, "B K M"],
    y: Float[Tensor, "B K M"],
    other: Float[Tensor, "B K N 2"],
    present: Bool[Tensor, "B K N"],
    radius: Float[Tensor, "B N"],
) -> Bool[Tensor, "B K M N"]:
    """Whether circles overlap: |a|² - 2 a b + |b|² - r² <= 0, as one matrix product.

    A CPU computes it in float32. A GPU keeps the precision, because it may cut float32 to TF32.
    """
    if x.device.type == "cpu":
        x, y, other, radius = x.float(), y.float(), other.float(), radius.float()
    rest = (other**2).sum(-1) - radius[:, None] ** 2
    rest = torch.where(present, rest, torch.inf)
    left = torch.stack([-2 * x, -2 * y, x * x + y * y, torch.ones_like(x)], -1)
    right = torch.stack([other[..., 0], other[..., 1], torch.ones_like(rest), rest], -2)
    return left @ right <= 0


def collision_contacts(contacts: Contacts) -> Contacts:
    """The contacts that may be collisions: the first one with each track, where the car really is."""
    return contacts[contacts.ahead == 0].first_each()


def ttc_contacts(car: Footprint, contacts: Contacts, ttc_steps: int) -> Contacts:
    """The contacts that may break the time to collision: the first one with each track of a car that moves."""
    moving = car.speed[contacts.scene, contacts.step, contacts.trajectory] >= TTC_STANDS_MPS
    return contacts[(contacts.step < ttc_steps) & moving].first_each()


def circumstances(
    car: Footprint, tracks: TrackBatch, road: MapBatch, areas: EgoAreas, contacts: Contacts
) -> Circumstances:
    """The circumstances of every contact. Lanes and intersections are looked up here, because few moments need them."""
    places = contacts.scene, contacts.step, contacts.trajectory
    then = car.at(places)
    if not len(contacts):
        no = torch.zeros_like(then.speed, dtype=torch.bool)
        return Circumstances(speed=then.speed, bearing_deg=then.speed, outside=no, at_junction=no)
    points = torch.cat([then.corners(), then.rear[:, None]], 1)
    words = road.grid.containing(points.reshape(-1, 2), contacts.scene.repeat_interleave(5)).unflatten(0, (-1, 5))
    first, second, third, fourth = (words[:, :4] & road.lanes[contacts.scene, None]).unbind(1)
    any_corner, all_corners = first | second | third | fourth, first & second & third & fourth
    two_in_a_word = ((any_corner & (any_corner - 1)) != 0).any(-1)
    several_lanes = (two_in_a_word | ((any_corner != 0).sum(-1) > 1)) & (all_corners == 0).all(-1)
    return Circumstances(
        speed=then.speed,
        bearing_deg=bearing_deg(car, tracks, contacts),
        outside=several_lanes | areas.off_road[places],
        at_junction=((words[:, 4] & road.intersections.mask[contacts.scene]) != 0).any(-1),
    )


def no_at_fault_collisions(
    car: Footprint, tracks: TrackBatch, contacts: Contacts, how: Circumstances
) -> tuple[Float[Tensor, "B M"], Int64[Tensor, "B M"], Int64[Tensor, "B M"]]:
    """NC (section 6.2): 1; 0.5 after hitting a static object; 0 after hitting a vehicle, pedestrian or bicycle.

    Also returns the step of the first at-fault collision and the track that was hit; -1 for none.
    contacts, how: the `collision_contacts`. A standing car is never at fault. A moving car is at fault
    if the track stands, if its front edge touches the track, or if it touches the track sideways
    while it is in several lanes or off the road; never if the track comes from behind.
    """
    if not len(contacts):
        none = torch.full(contacts.shape[:2], -1, device=car.speed.device)
        return car.speed.new_ones(contacts.shape[:2]), none, none
    stands, behind = tracks.stands[contacts.scene, contacts.track], how.bearing_deg > BEHIND_DEG
    at_fault = stands | (~behind & (front_touches(car, tracks, contacts) | how.outside))
    hits = contacts[(how.speed > STANDS_MPS) & at_fault]
    step, track = hits.earliest()
    agent = hits.first_of_each_trajectory(torch.where(tracks.agent[hits.scene, hits.track], 0, 1))
    score = torch.where(step >= 0, torch.where(agent == 0, 0.0, STATIC_PENALTY), 1.0).to(car.speed.dtype)
    return score, step, track


def time_to_collision(
    contacts: Contacts, how: Circumstances
) -> tuple[Float[Tensor, "B M"], Int64[Tensor, "B M"], Int64[Tensor, "B M"]]:
    """TTC (section 6.6): 0 if the car, going on at its present speed, would touch a track within 0.9 s, else 1.

    Also returns the first step at which it is broken and the track that breaks it; -1 for none.
    contacts, how: the `ttc_contacts`. A track ahead breaks it; in several lanes, off the road or in an
    intersection, so does any track that is not behind.
    """
    if not len(contacts):
        none = torch.full(contacts.shape[:2], -1, device=how.speed.device)
        return how.speed.new_ones(contacts.shape[:2]), none, none
    around = how.outside | how.at_junction
    broken = contacts[(how.bearing_deg < AHEAD_DEG) | (around & ~(how.bearing_deg > BEHIND_DEG))]
    step, track = broken.earliest()
    return (step < 0).to(how.speed.dtype), step, track


def front_touches(car: Footprint, tracks: TrackBatch, contacts: Contacts) -> Bool[Tensor, "C"]:
    """Whether the front edge of the car touches the other box."""
    places = contacts.scene, contacts.step, contacts.trajectory
    other = contacts.scene, contacts.step, contacts.track
    heading = car.cos[places], car.sin[places]
    front = moved_ahead(car.centre[places], *heading, HALF_LENGTH_M)
    edge = torch.tensor([0.0, HALF_WIDTH_M], dtype=front.dtype, device=front.device)  # a box without length
    half = tracks.half[contacts.scene, contacts.track]
    return boxes_touch(tracks.centre[other] - front, heading, (tracks.cos[other], tracks.sin[other]), edge, half)


def bearing_deg(car: Footprint, tracks: TrackBatch, contacts: Contacts) -> Float[Tensor, "C"]:
    """Angle between the car's heading and the way from its rear axle to the middle of the other box, degrees.

    The car is not moved ahead for it; the other box is the one of the contact. The cosine is not
    clamped. Where rounding makes it exceed 1, the bearing is NaN, and the other road user is
    neither ahead nor behind (docs/pdms.md, section 11, trap 4). For a lead exactly ahead the last
    bit decides that, so sums of two products are rounded once, as the devkit's linear algebra does.
    """
    places = contacts.scene, contacts.step, contacts.trajectory
    later = contacts.step + torch.tensor(AHEAD, device=contacts.step.device)[contacts.ahead]
    way = tracks.middle[contacts.scene, later, contacts.track] - car.rear[places]
    x, y = way[:, 0], way[:, 1]
    square = _fused(y, y, x * x)
    length = square.sqrt()
    length = length + _fused(-length, length, square) / (2 * length)  # torch's own root is an ulp off now and then
    x, y = x / length, y / length
    return torch.rad2deg(torch.arccos(_fused(y, car.sin[places], x * car.cos[places])))


def _fused(a: Float[Tensor, "C"], b: Float[Tensor, "C"], c: Float[Tensor, "C"]) -> Float[Tensor, "C"]:
    """a * b + c, rounded once: product and sum with their rounding errors (Dekker 1971, Knuth), added at the end."""
    split = 2.0 ** (27 if a.dtype == torch.float64 else 12) + 1.0
    (a_high, a_low), (b_high, b_low) = _halves(a, split), _halves(b, split)
    product = a * b
    lost = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low
    total = product + c
    of_c = total - product
    return total + (((product - (total - of_c)) + (c - of_c)) + lost)


def _halves(a: Float[Tensor, "C"], split: float) -> tuple[Float[Tensor, "C"], Float[Tensor, "C"]]:
    high = split * a - (split * a - a)
    return high, a - high
