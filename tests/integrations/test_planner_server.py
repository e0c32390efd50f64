"""A scene from the devkit is the scene that we open from the same log; what the devkit did not give
is named."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from latentdrive.data.navsim.scene_source import NavsimLogs
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
    poses = np.array([[*one["ego2global_translation"][:2], yaw(*one["ego2global_rotation"])] for one in entries])
    cos, sin = np.cos(-poses[-1, 2]), np.sin(-poses[-1, 2])
    relative = poses - poses[-1]
    relative[:, :2] = relative[:, :2] @ np.array([[cos, -sin], [sin, cos]]).T
    states, views, lidars = [], [], []
    for entry, pose in zip(entries, relative):
        motion = np.array(entry["ego_dynamic_state"], np.float32)
        states.append(EgoStatus(pose.astype(np.float32), motion[:2], motion[2:], entry["driving_command"]))
        seen = {name: Camera() for name in CAMERAS}
        for name in WRITTEN:
            one = entry["cams"][name]
            picture = np.array(Image.open(root / "sensor_blobs" / "mini" / one["data_path"]))
            mount = one["sensor2lidar_rotation"], one["sensor2lidar_translation"]
            seen[name.lower()] = Camera(picture, *mount, one["cam_intrinsic"], one["distortion"])
        views.append(Cameras(**seen))
        lidars.append(Lidar(points(entry["frame_idx"])))
    return AgentInput(states, views, lidars)


def yaw(w: float, x: float, y: float, z: float) -> float:
    return np.arctan2(2 * (w * z - x * y), 1 - 2 * (y * y + z * z))


@pytest.mark.parametrize("log", ["east", "north"])
@pytest.mark.parametrize("seen", ["now", "all"])
def test_a_scene_from_the_devkit_is_the_one_that_we_open_from_the_log(openscene: Path, devkit, log: str, seen: str):
    ours = NavsimLogs(
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
    given = module.scene_arrays(
        devkit_input(openscene, log, 5), {"cameras": needs.cameras, "frames": seen, "lidar": True}
    )
    module.send(sent, {"scene": "s"}, given)
    theirs = scene_of("s", receive(io.BytesIO(sent.getvalue()))[1], needs)

    assert list(theirs.cameras) == list(ours.cameras) == ["front", "cam_l0"]
    for name, images in ours.cameras.items():
        assert len(images) == len(theirs.cameras[name]) == (4 if seen == "all" else 1)
        for one, other in zip(images, theirs.cameras[name]):
            for field in ("pixels", "intrinsics", "camera_to_ego"):
                same(getattr(one, field), getattr(other, field))
            assert other.pixels.flags.c_contiguous
    for field in ("times_s", "poses", "velocity", "acceleration"):
        same(getattr(ours.ego, field), getattr(theirs.ego, field))
    assert theirs.ego.command == ours.ego.command
    assert (
        theirs.ego.poses_known
        and theirs.ego.velocity_known
        and theirs.ego.acceleration_known
        and theirs.ego.command_known
    )
    same(ours.lidar, theirs.lidar)


def same(one: np.ndarray, other: np.ndarray) -> None:
    assert one.dtype == other.dtype
    np.testing.assert_array_equal(one, other)


def given(devkit, needs: SensorNeeds, **options) -> dict[str, np.ndarray]:
    wanted = {"cameras": needs.cameras, "frames": needs.frames, "lidar": needs.lidar}
    return devkit().scene_arrays(agent_input(**options), wanted)


def test_only_what_the_planner_needs_is_sent(devkit):
    ego = {"poses", "velocity", "acceleration", "command"}
    seen = {"cameras": ("cam_f0", "cam_b0"), "points": 5}
    assert set(given(devkit, SensorNeeds(cameras=(), frames="all", lidar=False), **seen)) == ego
    now = given(devkit, SensorNeeds(cameras=("cam_b0",), frames="now", lidar=True), **seen)
    assert set(now) == ego | {"lidar"} | {
        f"cam_b0/3/{one}" for one in ("pixels", "rotation", "translation", "intrinsics")
    }
    assert now["lidar"].shape == (4, 5)


@pytest.mark.parametrize(
    ("needs", "says"),
    [
        (
            SensorNeeds(cameras=("cam_f0", "cam_r0"), frames="now", lidar=False),
            "s: the devkit gave no picture of cam_r0 for now",
        ),
        (
            SensorNeeds(cameras=("cam_r0",), frames="all", lidar=False),
            "s: the devkit gave no picture of cam_r0 for 1.5 s ago",
        ),
        (SensorNeeds(cameras=("cam_f0",), frames="now", lidar=True), "s: the devkit gave no point cloud"),
    ],
)
def test_a_sensor_that_the_devkit_did_not_give_is_named(devkit, needs: SensorNeeds, says: str):
    with pytest.raises(UnreadableScene, match=says):
        scene_of("s", given(devkit, needs, cameras=("cam_f0",)), needs)


def test_a_command_that_is_not_one_hot_is_refused(devkit):
    needs = SensorNeeds(cameras=(), frames="now", lidar=False)
    arrays = given(devkit, needs) | {"command": np.zeros((4, 4), np.int64)}
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
    scene = given(devkit, ConstantVelocity.needs, velocity=(3.0, 4.0))
    bad = scene | {"command": np.zeros((4, 4), np.int64)}
    hello, first, second, third = answers_to(ConstantVelocity(), [scene, bad, scene])
    assert hello == ({"planner": "ConstantVelocity", **NO_SENSORS}, {})
    assert first[0] == {"dt_s": 0.5} and first[1]["poses"].shape == (8, 3)
    assert second == ({"error": "s1: driving_command: expected one 1 and three 0, got [0, 0, 0, 0]"}, {})
    np.testing.assert_array_equal(third[1]["poses"], first[1]["poses"])


def test_an_error_that_is_no_scenes_fault_is_the_last_answer():
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
