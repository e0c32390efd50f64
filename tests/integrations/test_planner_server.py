"""A scene from the devkit equals the one that we open from the same log, and missing sensors are
named."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from latentdrive.data.navsim.opening import open_navsim_logs
from latentdrive.errors import CheckpointError, ConfigError, UnreadableScene
from latentdrive.integrations import planner_server
from latentdrive.integrations.planner_server import run, scene_of, serve
from latentdrive.integrations.planner_wire import receive, send
from latentdrive.planners.baselines.constant_velocity import ConstantVelocity
from latentdrive.types import SensorNeeds
from tests.support.navsim_fixture import WRITTEN, frames, points, token, write_openscene
from tests.support.navsim_stand_in import CAMERAS, AgentInput, Camera, Cameras, EgoStatus, Lidar, agent_input

FILTER = {"num_history_frames": 4, "num_future_frames": 10, "frame_interval": 1, "has_route": True}
NO_SENSORS = {"cameras": [], "frames": "now", "lidar": False}


@pytest.fixture(scope="module")
def openscene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_openscene(tmp_path_factory.mktemp("openscene"))


def devkit_input(root: Path, log: str, now: int) -> AgentInput:
    """What the devkit makes of frames now - 3 to now of a log, by its own formulas as its interface
    states them."""
    entries = frames(log)[now - 3 : now + 1]
    poses = np.array([[*entry["ego2global_translation"][:2], yaw(*entry["ego2global_rotation"])] for entry in entries])
    cos, sin = np.cos(-poses[-1, 2]), np.sin(-poses[-1, 2])
    relative = poses - poses[-1]
    relative[:, :2] = relative[:, :2] @ np.array([[cos, -sin], [sin, cos]]).T
    states, views, lidars = [], [], []
    for entry, pose in zip(entries, relative):
        motion = np.array(entry["ego_dynamic_state"], np.float32)
        states.append(EgoStatus(pose.astype(np.float32), motion[:2], motion[2:], entry["driving_command"]))
        cameras = {name: Camera() for name in CAMERAS}
        for name in WRITTEN:
            camera = entry["cams"][name]
            picture = np.array(Image.open(root / "sensor_blobs" / "mini" / camera["data_path"]))
            mount = camera["sensor2lidar_rotation"], camera["sensor2lidar_translation"]
            cameras[name.lower()] = Camera(picture, *mount, camera["cam_intrinsic"], camera["distortion"])
        views.append(Cameras(**cameras))
        lidars.append(Lidar(points(entry["frame_idx"])))
    return AgentInput(states, views, lidars)


def yaw(w: float, x: float, y: float, z: float) -> float:
    return np.arctan2(2 * (w * z - x * y), 1 - 2 * (y * y + z * z))


@pytest.mark.parametrize("log", ["east", "north"])
@pytest.mark.parametrize("seen", ["now", "all"])
def test_a_scene_from_the_devkit_equals_the_one_opened_from_the_log(openscene: Path, devkit, log: str, seen: str):
    opened = open_navsim_logs(
        path=str(openscene),
        data_split="mini",
        split=None,
        splits=None,
        filter=FILTER,
        maps={},
        cameras=["cam_f0", "cam_l0"],
        camera_frames=seen,
        lidar=True,
        at_least=None,
        cache_folder=str(openscene / "cache"),
        processes=1,
        max_unreadable=0.0,
    )[token(log, 5)]
    needs = SensorNeeds(cameras=("cam_f0", "cam_l0"), frames=seen, lidar=True)
    sent = io.BytesIO()
    module = devkit()
    arrays = module.scene_arrays(
        devkit_input(openscene, log, 5), {"cameras": needs.cameras, "frames": seen, "lidar": True}
    )
    module.send(sent, {"scene": "s"}, arrays)
    received = scene_of("s", receive(io.BytesIO(sent.getvalue()))[1], needs)

    assert list(received.cameras) == list(opened.cameras) == ["front", "cam_l0"]
    for name, images in opened.cameras.items():
        assert len(images) == len(received.cameras[name]) == (4 if seen == "all" else 1)
        for image, other in zip(images, received.cameras[name]):
            for field in ("pixels", "intrinsics", "camera_to_ego"):
                same(getattr(image, field), getattr(other, field))
            assert other.pixels.flags.c_contiguous
    for field in ("times_s", "poses", "velocity", "acceleration"):
        same(getattr(opened.ego, field), getattr(received.ego, field))
    assert received.ego.command == opened.ego.command
    assert (
        received.ego.poses_known
        and received.ego.velocity_known
        and received.ego.acceleration_known
        and received.ego.command_known
    )
    same(opened.lidar, received.lidar)


def same(first: np.ndarray, second: np.ndarray) -> None:
    assert first.dtype == second.dtype
    np.testing.assert_array_equal(first, second)


def arrays_of(devkit, needs: SensorNeeds, **options) -> dict[str, np.ndarray]:
    sensors = {"cameras": needs.cameras, "frames": needs.frames, "lidar": needs.lidar}
    return devkit().scene_arrays(agent_input(**options), sensors)


def test_only_what_the_planner_needs_is_sent(devkit):
    ego = {"poses", "velocity", "acceleration", "command"}
    seen = {"cameras": ("cam_f0", "cam_b0"), "points": 5}
    assert set(arrays_of(devkit, SensorNeeds(cameras=(), frames="all", lidar=False), **seen)) == ego
    now = arrays_of(devkit, SensorNeeds(cameras=("cam_b0",), frames="now", lidar=True), **seen)
    assert set(now) == ego | {"lidar"} | {
        f"cam_b0/3/{part}" for part in ("pixels", "rotation", "translation", "intrinsics")
    }
    assert now["lidar"].shape == (4, 5)


@pytest.mark.parametrize(
    ("needs", "says"),
    [
        (
            SensorNeeds(cameras=("cam_f0", "cam_r0"), frames="now", lidar=False),
            "s: the devkit sent no picture of cam_r0 from the present",
        ),
        (
            SensorNeeds(cameras=("cam_r0",), frames="all", lidar=False),
            "s: the devkit sent no picture of cam_r0 from 1.5 s ago",
        ),
        (SensorNeeds(cameras=("cam_f0",), frames="now", lidar=True), "s: the devkit sent no present point cloud"),
    ],
)
def test_a_sensor_that_the_devkit_did_not_send_is_named(devkit, needs: SensorNeeds, says: str):
    with pytest.raises(UnreadableScene, match=says):
        scene_of("s", arrays_of(devkit, needs, cameras=("cam_f0",)), needs)


def test_a_command_that_is_not_one_hot_is_refused(devkit):
    needs = SensorNeeds(cameras=(), frames="now", lidar=False)
    arrays = arrays_of(devkit, needs) | {"command": np.zeros((4, 4), np.int64)}
    with pytest.raises(UnreadableScene, match=r"driving_command: expected one 1 and three 0, got \[0, 0, 0, 0\]"):
        scene_of("s", arrays, needs)


def answers_to(planner, requests: list[dict[str, np.ndarray]]) -> list:
    stream, answers = io.BytesIO(), io.BytesIO()
    for number, arrays in enumerate(requests):
        send(stream, {"scene": f"s{number}"}, arrays)
    stream.seek(0)
    serve(planner, stream, answers)
    answers.seek(0)
    return list(iter(lambda: receive(answers), None))


def test_a_planner_says_what_it_needs_and_answers_until_its_input_ends(devkit):
    scene = arrays_of(devkit, ConstantVelocity.needs, velocity=(3.0, 4.0))
    bad = scene | {"command": np.zeros((4, 4), np.int64)}
    hello, first, second, third = answers_to(ConstantVelocity(), [scene, bad, scene])
    assert hello == ({"planner": "ConstantVelocity", **NO_SENSORS}, {})
    assert first[0] == {"dt_s": 0.5} and first[1]["poses"].shape == (8, 3)
    assert second == ({"error": "s1: driving_command: expected one 1 and three 0, got [0, 0, 0, 0]"}, {})
    np.testing.assert_array_equal(third[1]["poses"], first[1]["poses"])


def test_an_error_that_is_not_the_fault_of_a_scene_is_the_last_answer():
    def make():
        raise ConfigError("no planner here")

    answers = io.BytesIO()
    assert run(make, io.BytesIO(), answers) == 1
    answers.seek(0)
    assert receive(answers) == ({"error": "no planner here", "ended": True}, {})


def test_only_a_checkpoint_folder_is_loaded(tmp_path: Path):
    for folder in ("constant_velocity", str(tmp_path)):
        with pytest.raises(CheckpointError):
            planner_server.checkpoint_planner(folder, None, "cpu")
