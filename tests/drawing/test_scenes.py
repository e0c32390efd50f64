"""Pictures of scenes: the axes of the bird's-eye view, boxes where the camera sees them, and the LiDAR histogram."""

from dataclasses import replace

import numpy as np
import pytest

from latentdrive.drawing.scenes import COLOURS, EGO, HUMAN, PANEL, RED, ROAD, ROUTE, scene_picture
from latentdrive.types import (
    CameraImage,
    Command,
    EgoHistory,
    LoggedFrame,
    MapArea,
    MapLane,
    RoadMap,
    Scene,
    SceneTruth,
    TrackedObjects,
    Trajectory,
)

PLACE = np.array([300000.0, 4600000.0, np.pi / 2])  # pose of the ego, which looks north
FOCAL, WIDTH, HEIGHT = 100.0, 200, 120


def lane(number: str, aside_m: float, block: str) -> MapLane:
    """A lane to the north, aside_m metres to the left of the ego."""
    y = np.linspace(-20.0, 38.0, 30)
    middle = PLACE[:2] + np.stack([np.full(30, -aside_m), y], -1)
    half = np.array([2.0, 0.0])
    left, right = middle - half, middle + half
    return MapLane(
        id=number,
        rings=(np.concatenate([left, right[::-1]]),),
        roadblock=block,
        baseline=middle,
        outgoing=(),
        incoming=(),
        speed_limit_mps=None,
        index=0,
        has_light=False,
    )


@pytest.fixture
def truth() -> SceneTruth:
    own, other, red = lane("1", 0.0, "10"), lane("2", 6.0, "20"), lane("3", -6.0, "30")
    nothing: dict = {
        "roadblock_connectors": (),
        "intersections": (),
        "carparks": (),
        "crosswalks": (),
        "walkways": (),
    }
    road_map = RoadMap(
        name="us-ma-boston",
        lanes=(own, other),
        connectors=(red,),
        roadblocks=(MapArea(id="10", rings=own.rings),),
        **nothing,
    )
    car = TrackedObjects(
        poses=PLACE + np.array([[-6.0, 20.0, 0.0]]),
        centre_z_m=np.array([0.75]),
        sizes=np.array([[4.0, 2.0, 1.5]]),
        velocity=np.zeros((1, 2)),
        names=("vehicle",),
        tracks=("a",),
    )
    now = LoggedFrame(
        token="t",
        timestamp_us=0,
        ego_pose=PLACE,
        velocity=np.zeros(2, np.float32),
        acceleration=np.zeros(2, np.float32),
        command=Command.STRAIGHT,
        objects=car,
        lights=(("3", True),),
    )
    path = np.stack([np.arange(1, 9) * 4.0, np.zeros(8), np.zeros(8)], -1)
    return SceneTruth(
        token="t",
        drive="d",
        frames=(now,),
        now=0,
        route=("10",),
        map=road_map,
        human=Trajectory(poses=path, dt_s=0.5),
        synthetic=False,
    )


@pytest.fixture
def scene() -> Scene:
    looks_ahead = np.array([[0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1]], np.float32)
    image = CameraImage(
        pixels=np.full((3, HEIGHT, WIDTH), 9, np.uint8),
        intrinsics=np.array([[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1]], np.float32),
        camera_to_ego=looks_ahead,
    )
    past = EgoHistory(
        times_s=np.zeros(1),
        poses=np.zeros((1, 3), np.float32),
        poses_known=True,
        velocity=np.zeros((1, 2), np.float32),
        velocity_known=True,
        acceleration=np.zeros((1, 2), np.float32),
        acceleration_known=True,
        command=Command.STRAIGHT,
        command_known=True,
    )
    wall = np.array([[10.0, 4.0, 1.0, 0.5]] * 6 + [[10.0, 4.0, 0.1, 0.5]] * 9, np.float32)
    return Scene(token="t", drive="d", cameras={"front": [image]}, ego=past, lidar=wall)


def places(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Rows and columns of the pixels of a colour."""
    return np.argwhere((picture == np.array(colour)).all(-1))


def test_the_birds_eye_view_has_x_up_and_y_to_the_left(scene, truth):
    view = scene_picture(scene, truth)[:PANEL, 2 * WIDTH : 2 * WIDTH + PANEL]
    middle, metre = PANEL / 2, PANEL / 80.0
    car = places(view, COLOURS["vehicle"]).mean(0)
    assert car == pytest.approx([middle - 20 * metre, middle - 6 * metre], abs=4)
    human = places(view, HUMAN)
    assert human[:, 0].min() == pytest.approx(middle - 32 * metre, abs=4) and abs(human[:, 1].mean() - middle) < 2
    assert places(view, RED)[:, 1].mean() == pytest.approx(middle + 6 * metre, abs=2)  # to the right
    assert len(places(view, ROUTE)) and len(places(view, ROAD)) and len(places(view, EGO))


def test_boxes_and_lanes_are_drawn_where_the_camera_sees_them(scene, truth):
    camera = scene_picture(scene, truth)[:HEIGHT, :WIDTH]
    box = places(camera, COLOURS["vehicle"])
    assert box[:, 1].mean() == pytest.approx(WIDTH / 2 - FOCAL * 6.0 / 20.0, abs=3)  # 6 m to the left, 20 m ahead
    assert box[:, 0].max() == pytest.approx(HEIGHT / 2 + FOCAL * 1.5 / 18.0, abs=2)  # the near edge of its foot
    assert places(camera, ROUTE)[:, 0].min() > HEIGHT / 2  # a lane lies below the horizon


def test_the_histogram_counts_points_above_the_ground(scene, truth):
    panel = scene_picture(scene, truth)[:PANEL, 2 * WIDTH + PANEL :]
    lit = places(panel, (255, 255, 255))
    metre = PANEL / 64.0
    assert lit.mean(0) == pytest.approx([PANEL / 2 - 10 * metre, PANEL / 2 - 4 * metre], abs=2.5)
    assert len(lit) <= (PANEL / 256 + 1) ** 2  # one cell: the nine points near the ground do not count


def test_without_points_there_is_no_histogram(scene, truth):
    assert scene_picture(replace(scene, lidar=None), truth).shape == (PANEL, 2 * WIDTH + PANEL, 3)
