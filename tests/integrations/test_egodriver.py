"""Other simulators are driven by our planners over gRPC; the contract's own small simulator is the other end."""

import io
import json
import socket
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from latentdrive.build import build
from latentdrive.commands import run as run_verb
from latentdrive.config import compose
from latentdrive.errors import ConfigError, UnreadableScene
from latentdrive.integrations.egodriver import PlannerDriver, serve
from latentdrive.integrations.egodriver_scene import scene_of
from latentdrive.planners.baselines.constant_velocity import ConstantVelocity
from latentdrive.planners.learned import LearnedPlanner
from latentdrive.types import FRONT, Command, SensorNeeds

pytest.importorskip("carla_driver_interface")
import grpc
from carla_driver_interface.driver import CameraFrame, LidarFrame, SessionState
from carla_driver_interface.geometry import Pose, Trajectory
from carla_driver_interface.inprocess import in_process_channel
from carla_driver_interface.protocol import DynamicState, Vec3
from carla_driver_interface.testing import FakeCamera, FakeLoop, render_road

SECOND = 1_000_000  # in the contract's microseconds
THREE = {"cam_l0": "left", "cam_f0": "front", "cam_r0": "right"}
CAMERAS = tuple(
    FakeCamera(logical_id=name, width=96, height=54, yaw_left_deg=turn)
    for name, turn in (("left", 55.0), ("front", 0.0), ("right", -55.0))
)


def ltf() -> LearnedPlanner:
    torch.manual_seed(0)
    return build(compose("train_planner", ["planner=ltf_tiny"]).model).eval()


def session(*, speed_mps: float = 5.0, seconds: float = 2.0, states: bool = True, **more) -> SessionState:
    """A session that has driven straight along x for some seconds at 10 Hz."""
    moments = [round(step * SECOND / 10) for step in range(round(seconds * 10) + 1)]
    poses = [Pose.from_xyz_yaw(speed_mps * moment / SECOND, 0.0, 0.0, 0.0) for moment in moments]
    state = DynamicState(linear_velocity=Vec3(x=speed_mps)) if states else DynamicState()
    return SessionState(
        uuid="u",
        seed=0,
        scene_id="street",
        cameras={camera.logical_id: camera.available_camera() for camera in CAMERAS},
        ego_trajectory=Trajectory(moments, poses),
        dynamic_states=[state] * len(moments),
        **more,
    )


def picture(name: str, at_us: int, shade: int = 0) -> CameraFrame:
    buffer = io.BytesIO()
    Image.fromarray(np.full((54, 96, 3), shade, np.uint8)).save(buffer, format="PNG")
    return CameraFrame(name, at_us, at_us, buffer.getvalue())


def now_of(made: SessionState) -> int:
    return made.ego_trajectory.timestamps_us[-1]


# ---- in the loop ----


def test_a_simulator_follows_the_plans_of_a_planner_over_a_socket(tmp_path: Path):
    said: list[str] = []
    driver = PlannerDriver(ConstantVelocity(), cameras={}, say=said.append)
    address = f"unix://{tmp_path}/driver.sock"
    server = threading.Thread(
        target=serve, args=(driver,), kwargs={"host": address, "port": 0, "mode": "carla", "sessions": 1}
    )
    server.start()
    wait_for(tmp_path / "driver.sock")
    with FakeLoop(address, initial_speed_mps=6.0) as loop:
        driven = loop.run(30)
    server.join(timeout=20)
    assert not server.is_alive()
    # It speeds on as it began: 29 steps of 0.1 s at 6 m/s, straight ahead.
    np.testing.assert_allclose(driven.ego.positions[:, 0], 0.6 * np.arange(30), atol=1e-4)
    np.testing.assert_allclose(driven.lateral_offsets_m, 0.0, atol=1e-6)
    assert (driver.sessions, driver.plans, driver.held) == (1, 30, 0)
    assert said == [f"Serving ConstantVelocity at {address} (carla)", "Session fake:straight_road: 30 plans"]


def test_a_learned_planner_sees_what_the_simulator_renders():
    planner = ltf()
    seen = []
    plan, planner.plan = planner.plan, lambda scenes: seen.append(scenes[0]) or plan(scenes)
    driver = PlannerDriver(planner, cameras=THREE, say=print)
    with FakeLoop(in_process_channel(driver), CAMERAS, initial_speed_mps=4.0, image_format="png") as loop:
        driven = loop.run(2)
    scene = seen[0]
    assert [scalars.scalars["planned"] for scalars in driven.debug] == [1.0, 1.0]
    pixels = render_road(CAMERAS[1], Pose.identity()).transpose(2, 0, 1)
    np.testing.assert_array_equal(scene.cameras[FRONT][-1].pixels, pixels)
    assert scene.ego.velocity[-1].tolist() == [4.0, 0.0] and scene.ego.command == Command.STRAIGHT
    planned = plan([scene]).poses[0]
    # The simulator follows the plan for 0.1 s on its way to the first pose, 0.5 s ahead.
    np.testing.assert_allclose(driven.ego.positions[1, :2], planned[0, :2] / 5, atol=1e-5)


def test_a_planner_that_cannot_plan_yet_holds_and_says_why():
    class Blind:
        needs = SensorNeeds(cameras=(), frames="now", lidar=False)

        def plan(self, scenes):
            raise UnreadableScene(scenes[0].token, "there is nothing to see")

    said: list[str] = []
    driver = PlannerDriver(Blind(), cameras={}, say=said.append)
    with FakeLoop(in_process_channel(driver), initial_speed_mps=5.0) as loop:
        driven = loop.run(3)
    assert driven.speeds_mps == [5.0, 0.0, 0.0]
    assert said == ["Session fake:straight_road: 0 plans", "  3 calls without a plan: there is nothing to see"]


def test_a_session_without_a_needed_camera_is_refused_with_its_name():
    driver = PlannerDriver(ltf(), cameras=THREE, say=print)
    loop = FakeLoop(in_process_channel(driver), CAMERAS[:2])
    with pytest.raises(grpc.RpcError, match="declared no camera right; it declared front, left") as refused:
        loop.run(1)
    assert refused.value.code() == grpc.StatusCode.FAILED_PRECONDITION


def test_every_needed_camera_needs_a_name():
    with pytest.raises(ConfigError, match=r"lacks the simulator's name of cam_r0.*\+cameras.cam_r0=NAME"):
        PlannerDriver(ltf(), cameras={"cam_l0": "left", "cam_f0": "front"}, say=print)


# ---- the scene ----


@pytest.mark.parametrize("states", [True, False], ids=["told", "from poses"])
def test_the_history_has_navsims_rate_and_the_velocity_that_the_poses_show(states: bool):
    ego = scene_of(made := session(states=states), now_of(made), cameras={}, looks_back=False).ego
    np.testing.assert_allclose(ego.times_s, [-1.5, -1.0, -0.5, 0.0])
    np.testing.assert_allclose(ego.poses[:, 0], [-7.5, -5.0, -2.5, 0.0], atol=1e-5)
    np.testing.assert_allclose(ego.velocity, [[5.0, 0.0]] * 4, atol=1e-5)
    np.testing.assert_allclose(ego.acceleration, 0.0, atol=1e-5)


def test_acceleration_follows_from_poses_where_it_is_not_told():
    made = session(states=False)
    made.ego_trajectory = Trajectory(
        made.ego_trajectory.timestamps_us,
        [Pose.from_xyz_yaw(moment**2 / SECOND**2, 0, 0, 0) for moment in made.ego_trajectory.timestamps_us],
    )
    ego = scene_of(made, now_of(made), cameras={}, looks_back=False).ego
    np.testing.assert_allclose(ego.acceleration[-1], [2.0, 0.0], atol=1e-4)  # x = t^2


def test_a_young_session_has_a_short_history():
    ego = scene_of(made := session(seconds=0.7), now_of(made), cameras={}, looks_back=False).ego
    np.testing.assert_allclose(ego.times_s, [-0.5, 0.0])
    with pytest.raises(UnreadableScene, match="sent no pose yet"):
        scene_of(SessionState(uuid="u", seed=0, scene_id="", cameras={}), 0, cameras={}, looks_back=False)


@pytest.mark.parametrize(("bend", "command"), [(0.0, Command.STRAIGHT), (0.03, Command.LEFT), (-0.03, Command.RIGHT)])
def test_the_command_follows_from_the_route_as_it_lies_now(bend: float, command: Command):
    ahead = np.arange(0.0, 60.0, 2.0)
    route = np.stack([ahead, bend * np.maximum(ahead - 10.0, 0.0) ** 2 / 2, 0 * ahead], 1)
    made = session(route_waypoints_in_rig=route, route_timestamp_us=SECOND)  # sent 5 m before the ego of now
    assert scene_of(made, now_of(made), cameras={}, looks_back=False).ego.command == command
    made.route_waypoints_in_rig = route[:5]
    assert scene_of(made, now_of(made), cameras={}, looks_back=False).ego.command == Command.UNKNOWN


def test_pictures_of_the_past_lie_half_a_second_apart_and_none_lies_after_now():
    made = session(seconds=2.0)
    times = range(0, 3 * SECOND + 1, SECOND // 10)
    made.frame_history = {"front": [picture("front", at, shade=at // (SECOND // 10)) for at in times]}
    scene = scene_of(made, now_of(made), cameras={"cam_f0": "front"}, looks_back=True)
    assert [int(image.pixels[0, 0, 0]) for image in scene.cameras[FRONT]] == [5, 10, 15, 20]
    (now,) = scene_of(made, now_of(made), cameras={"cam_f0": "front"}, looks_back=False).cameras[FRONT]
    assert int(now.pixels[0, 0, 0]) == 20


def test_pictures_before_a_gap_are_left_out():
    made = session(seconds=2.0)
    made.frame_history = {"front": [picture("front", round(at * SECOND)) for at in (0.0, 1.5, 2.0)]}
    assert len(scene_of(made, now_of(made), cameras={"cam_f0": "front"}, looks_back=True).cameras[FRONT]) == 2


def test_calibration_is_that_of_the_picture_and_a_bent_lens_has_none():
    made = session()
    made.frame_history = {"left": [picture("left", now_of(made))]}
    (image,) = scene_of(made, now_of(made), cameras={"cam_l0": "left"}, looks_back=False).cameras["cam_l0"]
    focal = CAMERAS[0].focal_px
    np.testing.assert_allclose(image.intrinsics, [[focal, 0, 48], [0, focal, 27], [0, 0, 1]], rtol=1e-6)
    forward = image.camera_to_ego[:3, 2]  # the optical axis, which looks 55 degrees to the left
    np.testing.assert_allclose(np.degrees(np.arctan2(forward[1], forward[0])), 55.0, atol=1e-3)
    made.cameras["left"].intrinsics.opencv_pinhole_param.radial_coeffs.append(0.1)
    (image,) = scene_of(made, now_of(made), cameras={"cam_l0": "left"}, looks_back=False).cameras["cam_l0"]
    assert image.intrinsics is None


def test_a_sweep_becomes_the_scenes_point_cloud():
    made, points = session(), np.arange(8, dtype="<f4").reshape(2, 4)
    made.frame_history = {"top": [LidarFrame("top", now_of(made), Pose.identity(), 2, points.tobytes())]}
    np.testing.assert_array_equal(scene_of(made, now_of(made), cameras={}, looks_back=False).lidar, points)


# ---- the verb ----


def test_the_verb_serves_and_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    port = free_port()
    words = [f"source=egodriver:{port}", "sessions=1", f"out={tmp_path / 'run'}"]
    server = threading.Thread(target=run_verb.run, args=(compose("run", words),))
    server.start()
    wait_until(lambda: "Serving" in (log.read_text() if (log := tmp_path / "run/log.txt").is_file() else ""))
    with FakeLoop(f"localhost:{port}", initial_speed_mps=3.0) as loop:
        assert loop.run(5).steps == 5
    server.join(timeout=20)
    numbers = json.loads((tmp_path / "run/metrics.json").read_text())
    assert (numbers["sessions"], numbers["plans"], numbers["held"]) == (1, 5, 0)
    assert "Session fake:straight_road: 5 plans" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["source=egodriver"], "source=egodriver is unknown: give egodriver:PORT"),
        (["source=egodriver:99999"], "source=egodriver:99999 is unknown"),
        (["source=egodriver:50051", "mode=carrla"], "mode=carrla is unknown: choose carla or alpasim"),
        (["source=egodriver:50051", "planner=human"], "plans from the truth of a scene"),
    ],
)
def test_a_mistake_is_one_sentence(tmp_path: Path, words: list[str], said: str):
    with pytest.raises(ConfigError, match=said):
        run_verb.run(compose("run", [*words, f"out={tmp_path / 'run'}"]))


def test_a_taken_port_is_told(tmp_path: Path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"source=egodriver:{port} can't be served"):
            run_verb.run(compose("run", [f"source=egodriver:{port}", f"out={tmp_path / 'run'}"]))


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return found.getsockname()[1]


def wait_for(path: Path) -> None:
    wait_until(path.exists)


def wait_until(there) -> None:
    end = time.monotonic() + 60
    while not there():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)
