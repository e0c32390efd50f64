"""The agent in the devkit: the sensors it takes, its plans, and its errors when the planner's
process fails."""

import copy
import gc
import os
import pickle
import subprocess
import sys
import time
import weakref

import numpy as np
import pytest

from latentdrive import checkpoint
from latentdrive.integrations.planner_server import checkpoint_planner, scene_of
from latentdrive.planners.baselines.constant_velocity import ConstantVelocity
from latentdrive.types import SensorNeeds
from tests.support.navsim_stand_in import CAMERAS, TrajectorySampling, agent_input

SEEN = ("cam_f0", "cam_l0")


def runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def pid_of(agent) -> int:
    return agent._child._process.pid


def planned_here(devkit_module, scene) -> np.ndarray:
    """The plan of ConstantVelocity, made in this process."""
    needs = SensorNeeds(cameras=(), frames="now", lidar=False)
    arrays = devkit_module.scene_arrays(scene, {"cameras": (), "frames": "now", "lidar": False})
    return ConstantVelocity().plan([scene_of("s", arrays, needs)]).poses[0]


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_planner_plans_the_same_in_the_devkit_as_without_it_to_the_bit(shared_agent, devkit, version: str):
    agent = shared_agent("constant_velocity", version)
    agent.initialize()
    assert agent.name() == "latentdrive constant_velocity" and agent.requires_scene is False
    for velocity in ((3.0, 4.0), (0.0, 0.0), (11.1, -0.3)):
        scene = agent_input(velocity=velocity)
        trajectory = agent.compute_trajectory(scene)
        assert trajectory.poses.dtype == np.float32
        np.testing.assert_array_equal(trajectory.poses, planned_here(devkit(version), scene))
        assert trajectory.trajectory_sampling == TrajectorySampling()


def test_a_planner_without_sensors_asks_for_none_and_needs_no_initialize(shared_agent):
    config = shared_agent("constant_velocity").get_sensor_config()
    assert not any(vars(config).values()) and set(vars(config)) == {*CAMERAS, "lidar_pc"}


@pytest.mark.parametrize(("frames", "history"), [("now", [3]), ("all", True)])
def test_exactly_the_sensors_that_the_planner_declares_are_asked_for(shared_agent, frames: str, history):
    config = vars(shared_agent(frames).get_sensor_config())
    assert {name: config.pop(name) for name in SEEN} == dict.fromkeys(SEEN, history)
    assert config.pop("lidar_pc") == [3] and not any(config.values()) and len(config) == 6


def test_pictures_and_points_reach_the_planner(shared_agent):
    """The toy planner's poses are what it saw: grey levels of 10 to 13 over time, 4 of the LiDAR's
    6 rows, and the number of threads it may use."""
    scene = agent_input(cameras=SEEN, points=5, grey=10)
    lidar = [np.arange(20.0).sum(), 5.0, 1.0]
    assert shared_agent("now").compute_trajectory(scene).poses.ravel()[:5].tolist() == [13.0, 13.0, *lidar]
    seen = shared_agent("all").compute_trajectory(scene).poses.ravel()[:11].tolist()
    assert seen == [10.0, 11.0, 12.0, 13.0] * 2 + lidar


def test_a_missing_sensor_is_named_and_the_next_scene_is_planned(shared_agent):
    agent = shared_agent("now")
    with pytest.raises(
        RuntimeError, match=r"latentdrive now: scene \d+ of this worker: .* picture of cam_l0 from the present"
    ):
        agent.compute_trajectory(agent_input(cameras=("cam_f0",), points=5))
    pid = pid_of(agent)
    with pytest.raises(RuntimeError, match=r"scene \d+ of this worker: the devkit sent no present point cloud"):
        agent.compute_trajectory(agent_input(cameras=SEEN))
    assert agent.compute_trajectory(agent_input(cameras=SEEN, points=5)).poses[0, 0] == 10.0 and pid_of(agent) == pid


@pytest.mark.parametrize(
    ("what", "says", "survives"),
    [
        ("names", "latentdrive names: scene 2 of this worker: the road is closed", True),
        ("refuses", "latentdrive refuses: this planner can't go on", False),
        (
            "raises",
            "(?s)scene 2 of this worker: the planner's process ended with status 1 "
            ".*ZeroDivisionError: a bug of the planner",
            False,
        ),
        ("dies", "scene 2 of this worker: the planner's process ended with status -9", False),
    ],
)
def test_a_failure_names_its_reason_and_loses_no_other_scene(new_agent, what: str, says: str, survives: bool):
    agent = new_agent(what)
    first = agent.compute_trajectory(agent_input()).poses
    pid = pid_of(agent)
    with pytest.raises(RuntimeError, match=says):
        agent.compute_trajectory(agent_input())
    assert runs(pid) is survives
    np.testing.assert_array_equal(agent.compute_trajectory(agent_input()).poses, first)


def test_an_interrupted_scene_does_not_leave_its_plan_to_the_next(new_agent, monkeypatch):
    agent = new_agent("constant_velocity")
    agent.initialize()

    def interrupted(stream):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(sys.modules["navsim_devkit"], "receive", interrupted)
        agent.compute_trajectory(agent_input(velocity=(20.0, 0.0)))
    assert agent.compute_trajectory(agent_input(velocity=(5.0, 0.0))).poses[0].tolist() == [2.5, 0.0, 0.0]


def test_a_planner_that_takes_too_long_is_ended(new_agent):
    agent = new_agent("sleeps")
    agent.compute_trajectory(agent_input())
    pid, agent._child._timeout_s = pid_of(agent), 0.5
    began = time.monotonic()
    with pytest.raises(RuntimeError, match=r"scene 2 of this worker: no answer within timeout_s=0.5"):
        agent.compute_trajectory(agent_input())
    assert time.monotonic() - began < 10 and not runs(pid)


@pytest.mark.parametrize(
    ("checkpoint", "says"),
    [
        ("unloadable", "latentdrive unloadable: /checkpoints/unloadable: no planner lies there"),
        (
            "crashing",
            "(?s)loading the planner: the planner's process ended with status 1 .*ZeroDivisionError: while loading",
        ),
    ],
)
def test_initialize_reports_what_went_wrong_while_loading(new_agent, checkpoint: str, says: str):
    with pytest.raises(RuntimeError, match=says):
        new_agent(checkpoint).initialize()


def test_a_planner_of_another_horizon_is_refused_with_both_horizons(new_agent):
    with pytest.raises(
        RuntimeError, match=r"expects 8 poses 0.5 s apart, the planner returned an array \(4, 3\), 1.0 s apart"
    ):
        new_agent("short").compute_trajectory(agent_input())
    other = TrajectorySampling(num_poses=40, time_horizon=4.0, interval_length=0.1)
    with pytest.raises(
        RuntimeError, match=r"expects 40 poses 0.1 s apart, the planner returned an array \(8, 3\), 0.5 s apart"
    ):
        new_agent("constant_velocity", "v2", trajectory_sampling=other).compute_trajectory(agent_input())


def test_v2_needs_a_sampling_and_a_store_of_latents_is_refused(new_agent):
    with pytest.raises(ValueError, match=r"trajectory_sampling: .* use latentdrive_agent_v2.yaml"):
        new_agent("constant_velocity", "v2", trajectory_sampling=None)
    with pytest.raises(ValueError, match=r"latents=stores/student: .* Give predictor=FOLDER"):
        new_agent("constant_velocity", latents="stores/student")


def test_an_interpreter_that_is_missing_or_prints_something_else_is_named(new_agent, tmp_path):
    agent = new_agent("constant_velocity")
    agent._command[0] = str(tmp_path / "nowhere")
    with pytest.raises(RuntimeError, match=r"python=.*nowhere can't be started"):
        agent.initialize()
    talker = tmp_path / "python"
    talker.write_text("#!/bin/sh\necho Welcome to this computer\n")
    talker.chmod(0o755)
    agent._command[0] = str(talker)
    with pytest.raises(RuntimeError, match=r"loading the planner: .*starts with b'latentdrive', got b'Welcome to this"):
        agent.initialize()


def test_a_process_of_another_version_is_refused_and_ended(new_agent, devkit, monkeypatch):
    agent = new_agent("constant_velocity")
    monkeypatch.setattr(sys.modules["navsim_devkit"], "VERSION", 2)
    with pytest.raises(
        RuntimeError, match=r"received a message of version 1, expected version 2: copy navsim_devkit.py"
    ):
        agent.initialize()
    assert agent._child is None


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda agent: pickle.loads(pickle.dumps(agent))])
def test_a_copy_starts_a_process_of_its_own(new_agent, copied):
    agent = new_agent("constant_velocity")
    expected = agent.compute_trajectory(agent_input()).poses
    other = copied(agent)
    assert other._child is None
    np.testing.assert_array_equal(other.compute_trajectory(agent_input()).poses, expected)
    assert pid_of(other) != pid_of(agent) and runs(pid_of(agent))


def test_two_planners_plan_side_by_side(shared_agent):
    blind, seeing = shared_agent("constant_velocity"), shared_agent("now")
    scene = agent_input(cameras=SEEN, points=5)
    for _ in range(3):
        assert blind.compute_trajectory(scene).poses[0].tolist() == [2.5, 0.0, 0.0]
        assert seeing.compute_trajectory(scene).poses[0, 0] == 10.0


def test_a_fork_leaves_the_process_to_the_worker_that_has_it(shared_agent):
    agent = shared_agent("constant_velocity")
    agent.initialize()
    pid = os.fork()
    if pid == 0:  # like a worker of a process pool, which ends by os._exit
        taken = agent._child.usable()
        agent._child = None
        gc.collect()
        os._exit(3 if taken else 0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert runs(pid_of(agent)) and agent.compute_trajectory(agent_input()).poses[0, 0] == 2.5


def test_the_process_ends_with_the_agent(new_agent):
    agent = new_agent("constant_velocity")
    agent.initialize()
    pid, gone = pid_of(agent), weakref.ref(agent)
    del agent
    gc.collect()
    assert gone() is None and not runs(pid)


def test_the_process_ends_by_itself_when_its_input_closes(toy_python):
    process = subprocess.Popen(
        [toy_python, "--checkpoint", "constant_velocity"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    process.stdin.close()
    assert process.wait(timeout=60) == 0


def test_the_real_process_ignores_the_devkits_import_path_and_names_a_folder_that_is_no_checkpoint(
    devkit, monkeypatch, tmp_path
):
    (tmp_path / "latentdrive.py").write_text("raise ImportError('another package by this name')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PYTHONHOME", str(tmp_path))
    agent = devkit().LatentDriveAgent(python=sys.executable, checkpoint="/nowhere/constant_velocity", threads=1)
    with pytest.raises(RuntimeError, match=r"latentdrive constant_velocity: .*/nowhere/constant_velocity"):
        agent.initialize()


def test_a_checkpoint_plans_the_same_in_the_devkit_as_loaded_here(devkit, tmp_path):
    ego_mlp = pytest.importorskip(
        "latentdrive.planners.baselines.ego_mlp", reason="skipped: no learned planner in this latentdrive"
    )
    config = {"_target_": "latentdrive.planners.baselines.ego_mlp.EgoMlp", "width": 8, "poses": 8, "fusion": None}
    model = ego_mlp.EgoMlp(width=8, poses=8, fusion=None)
    checkpoint.save(tmp_path / "planner", model, config=config, card=checkpoint.Card(kind="EgoMlp"))
    module, scene = devkit(), agent_input(velocity=(7.0, 0.5))
    agent = module.LatentDriveAgent(python=sys.executable, checkpoint=str(tmp_path / "planner"), threads=1)
    here = checkpoint_planner(str(tmp_path / "planner"), None, "cpu")
    arrays = module.scene_arrays(scene, {"cameras": (), "frames": "now", "lidar": False})
    expected = here.plan([scene_of("s", arrays, here.needs)]).poses[0]
    np.testing.assert_array_equal(agent.compute_trajectory(scene).poses, expected)
    assert expected.any()
