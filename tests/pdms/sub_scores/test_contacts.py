"""Contacts of boxes: against shapely on random traffic, first contacts, and the bearing with its NaN."""

import math

import numpy as np
import pytest
import shapely
import torch

from latentdrive.geometry import compose
from latentdrive.nuplan_vehicle import corners, ego_centre
from latentdrive.pdms.batch import stack
from latentdrive.pdms.sub_scores.contacts import AHEAD, NEVER, Contacts, bearing_deg, contacts, front_touches
from latentdrive.pdms.sub_scores.footprint import footprint
from tests.support.made_scenes import SIDE_M, STEPS, Other, circling, driving, made_scene, moved_scene

EGO_SIZE = np.array([5.176, 2.297])


def found_by_shapely(scene, states: np.ndarray, ttc_steps: int) -> set[tuple[int, int, int, int]]:
    """Step, trajectory, track and steps ahead of every contact."""
    found = set()
    for number, ahead in enumerate(AHEAD):
        for k in range(STEPS if ahead == 0 else ttc_steps):
            present = np.flatnonzero(scene.tracks.present[k + ahead])
            boxes = shapely.polygons(corners(scene.tracks.poses[k + ahead], scene.tracks.sizes))
            for trajectory, one in enumerate(states):
                centre = ego_centre(one[k, :3])
                centre[:2] += np.hypot(*one[k, 3:5]) * ahead * 0.1 * np.array([np.cos(one[k, 2]), np.sin(one[k, 2])])
                ego = shapely.polygons(corners(centre, EGO_SIZE))
                found |= {(k, trajectory, int(n), number) for n in present if shapely.intersects(ego, boxes[n])}
    return found


@pytest.mark.parametrize(("generation", "ttc_steps"), [(1, 41), (2, 32)])
def test_contacts_are_those_that_shapely_finds(generation: int, ttc_steps: int):
    rng = np.random.default_rng(3)
    others = [
        Other(
            "vehicle", *rng.uniform((-10, -8), (30, 8)), heading=rng.uniform(-np.pi, np.pi), speed=rng.uniform(0, 6),
            size=tuple(rng.uniform((0.3, 0.3), (6, 3))), seen=range(int(rng.integers(0, 20)), int(rng.integers(20, 51))),
        )
        for _ in range(25)
    ]  # fmt: skip
    scene = moved_scene(made_scene(*others, generation=generation), np.array([664_430.0, 3_997_650.0, 0.7]))
    states = np.stack([driving(5.0), circling(6.0, 15.0), circling(3.0, -6.0)])
    states = np.concatenate([compose(np.append(scene.ego[:2], 0.7), states[..., :3]), states[..., 3:]], -1)
    tensors = stack([scene])
    found = contacts(footprint(torch.from_numpy(states)[None], tensors.origin), tensors.tracks, ttc_steps)
    ours = set(zip(*(getattr(found, name).tolist() for name in ("step", "trajectory", "track", "ahead"))))
    expected = found_by_shapely(scene, states, ttc_steps)
    assert len(expected) > 500
    assert ours == expected
    assert found.shape == (1, 3, 25) and len(ours) == len(found)


def make(*rows: tuple[int, int, int, int, int], shape: tuple[int, int, int]) -> Contacts:
    """Rows of scene, step, trajectory, track, ahead."""
    columns = torch.tensor(rows, dtype=torch.long).reshape(-1, 5).unbind(1)
    return Contacts(**dict(zip(("scene", "step", "trajectory", "track", "ahead"), columns)), shape=shape)


def test_the_first_contact_with_each_track_is_by_step_then_by_steps_ahead():
    rows = [(0, 4, 0, 0, 0), (0, 3, 0, 0, 3), (0, 3, 0, 0, 1), (0, 9, 0, 1, 0), (0, 3, 1, 0, 2), (1, 7, 0, 0, 0)]
    first = make(*rows, shape=(2, 2, 2)).first_each()
    kept = list(zip(*(getattr(first, name).tolist() for name in ("scene", "step", "trajectory", "track", "ahead"))))
    assert kept == [rows[2], rows[3], rows[4], rows[5]]


def test_nothing_found_stays_nothing():
    empty = make(shape=(2, 3, 0))
    assert len(empty.first_each()) == len(empty.followed_by(empty)) == 0
    assert (empty.first_of_each_trajectory(empty.step) == NEVER).all()


def test_the_smallest_value_of_each_trajectory():
    found = make((0, 0, 0, 0, 0), (0, 0, 0, 1, 0), (1, 0, 1, 0, 0), shape=(2, 2, 2))
    assert found.first_of_each_trajectory(torch.tensor([7, 5, 9])).tolist() == [[5, NEVER], [NEVER, 9]]


def at_origin(other: Other, heading: float = 0.0) -> tuple:
    """The car standing at the origin, one other road user, their contact now."""
    scene = made_scene(other)
    tensors = stack([scene])
    car = footprint(torch.from_numpy(driving(0.0, heading=heading))[None, None], tensors.origin)
    return car, tensors.tracks, make((0, 0, 0, 0, 0), shape=(1, 1, 1))


@pytest.mark.parametrize(
    ("x", "y", "degrees"), [(10.0, 10.0, 45.0), (0.0, -3.0, 90.0), (-3.0, 0.1, 180 - math.degrees(math.atan2(0.1, 3)))]
)
def test_the_bearing_is_measured_from_the_rear_axle(x: float, y: float, degrees: float):
    assert bearing_deg(*at_origin(Other("vehicle", x, y))).item() == pytest.approx(degrees, abs=1e-9)


def test_the_bearing_of_a_lead_exactly_ahead_is_0_or_nan():
    # Where rounding lifts the cosine above 1 there is no angle; clamping would make it 0.
    headings = np.linspace(0.01, 1.5, 200)
    leads = [Other("vehicle", 11.3 * np.cos(h), 11.3 * np.sin(h), heading=h) for h in headings]
    tensors = stack([made_scene(*leads)])
    car = footprint(torch.from_numpy(np.stack([driving(0.0, heading=h) for h in headings]))[None], tensors.origin)
    each = [(0, 0, number, number, 0) for number in range(len(headings))]
    found = bearing_deg(car, tensors.tracks, make(*each, shape=(1, len(headings), len(headings)))).numpy()
    assert 0 < np.isnan(found).sum() < len(found)
    assert np.nanmax(found) < 1e-5


@pytest.mark.parametrize(
    ("x", "y", "touches"),
    [
        (4.049 + 1.99, 0.0, True), (4.049 + 2.0, 0.0, True), (4.049 + 2.0001, 0.0, False), (4.049 - 1.99, 2.0, True),
        (4.049 - 2.01, 2.0, False), (4.049, SIDE_M + 1.0, True), (4.049, SIDE_M + 1.0001, False), (0.0, 0.0, False),
    ],
)  # fmt: skip
def test_the_front_edge_touches_a_box_of_4_by_2_m(x: float, y: float, touches: bool):
    assert front_touches(*at_origin(Other("vehicle", x, y))).item() is touches
