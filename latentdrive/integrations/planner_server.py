"""Answers an agent of the NAVSIM devkit, scene by scene: the devkit's arrays become a Scene, a planner plans it.

After planner_process.py, which gives the planner and the streams. A Scene made here holds the same numbers as the one that
data/navsim/scene_source.py opens from the same log; but the devkit tells its agents neither token, log nor time stamps.
"""

from collections.abc import Callable, Mapping
from functools import partial
from io import BufferedIOBase

import numpy as np
from jaxtyping import Shaped

from latentdrive.data.navsim.scenes import STEP_S
from latentdrive.data.picture_size import WHOLE, scaled_intrinsics
from latentdrive.errors import LatentDriveError, UnreadableScene
from latentdrive.evaluation.planning import plan_scenes
from latentdrive.integrations.planner_wire import receive, send
from latentdrive.planners.learned import load_planner
from latentdrive.types import CameraImage, Command, EgoHistory, Planner, Scene, SensorNeeds, camera_key

Arrays = Mapping[str, Shaped[np.ndarray, "..."]]  # as navsim_devkit.py sends them, by name
DRIVE = "navsim devkit"


def checkpoint_planner(folder: str, predictor: str | None, device: str) -> Planner:
    """The planner of a checkpoint folder. Raises what load_planner raises."""
    return load_planner(folder=folder, latents=None, predictor=predictor, oracle_future=False, device=device)


def run(make_planner: Callable[[], Planner], requests: BufferedIOBase, answers: BufferedIOBase) -> int:
    """Serve what `make_planner` gives; returns the exit status. A named error is the last answer, any other ends in a traceback."""
    try:
        serve(make_planner(), requests, answers)
    except LatentDriveError as error:
        send(answers, {"error": str(error), "ended": True}, {})
        return 1
    except BrokenPipeError:  # nobody waits for the answer any more
        return 0
    return 0


def serve(planner: Planner, requests: BufferedIOBase, answers: BufferedIOBase) -> None:
    """Say what the planner needs, then answer every scene until `requests` ends. Messages: see navsim_devkit.py.

    A scene that can't be planned is answered with the reason, and the next one is waited for. Anything that is no scene's fault is raised.
    """
    needs = planner.needs
    hello = {"cameras": list(needs.cameras), "frames": needs.frames, "lidar": needs.lidar}
    send(answers, {"planner": type(planner).__name__, **hello}, {})
    while (message := receive(requests)) is not None:
        send(answers, *_answer(planner, message[0]["scene"], message[1]))


def _answer(planner: Planner, scene: str, arrays: Arrays) -> tuple[dict[str, str | float], Arrays]:
    # One at a time: the devkit asks for the next scene when it has the plan of this one.
    opener = partial(scene_of, arrays=arrays, needs=planner.needs)
    plans = plan_scenes(planner, [scene], opener, batch=1, advance=lambda done: None)
    if plans.failures:
        return {"error": plans.failures[scene]}, {}
    return {"dt_s": plans.trajectories[scene].dt_s}, {"poses": plans.trajectories[scene].poses}


def scene_of(token: str, arrays: Arrays, needs: SensorNeeds) -> Scene:
    """The scene that the devkit's arrays describe; token: a name for messages. Raises UnreadableScene, naming the sensor that is missing."""
    last = len(arrays["poses"]) - 1
    frames = range(last + 1) if needs.frames == "all" else [last]
    if needs.lidar and "lidar" not in arrays:
        raise UnreadableScene(token, "the devkit gave no point cloud (lidar_pc) for now, and this planner needs it")
    return Scene(
        token=token,
        drive=DRIVE,
        cameras={
            camera_key(name): [_image(token, arrays, name, frame, last) for frame in frames] for name in needs.cameras
        },
        ego=_ego_history(token, arrays),
        lidar=np.ascontiguousarray(arrays["lidar"].T, np.float32) if needs.lidar else None,
    )


def _image(token: str, arrays: Arrays, name: str, frame: int, last: int) -> CameraImage:
    if f"{name}/{frame}/pixels" not in arrays:
        when = "now" if frame == last else f"{(last - frame) * STEP_S} s ago"
        raise UnreadableScene(token, f"the devkit gave no picture of {name} for {when}, and this planner needs it")
    pixels, rotation, translation, intrinsics = (
        arrays[f"{name}/{frame}/{one}"] for one in ("pixels", "rotation", "translation", "intrinsics")
    )
    camera_to_ego = np.eye(4)  # NAVSIM's lidar frame is the ego frame
    camera_to_ego[:3, :3], camera_to_ego[:3, 3] = rotation, translation
    size = pixels.shape[:2]
    return CameraImage(
        pixels=np.ascontiguousarray(pixels.transpose(2, 0, 1)),
        # Of the picture as it is stored; by the same sums as for a log, so that not a bit differs.
        intrinsics=scaled_intrinsics(intrinsics.astype(np.float64), view=WHOLE, stored=size, size=size),
        camera_to_ego=camera_to_ego.astype(np.float32),
    )


def _ego_history(token: str, arrays: Arrays) -> EgoHistory:
    flags = arrays["command"][-1].tolist()
    if sorted(flags) != [0, 0, 0, 1]:
        raise UnreadableScene(token, f"driving_command: expected one 1 and three 0, got {flags}")
    return EgoHistory(
        times_s=STEP_S
        * np.arange(1 - len(arrays["poses"]), 1),  # by name: the devkit does not say when its frames were
        poses=arrays["poses"].astype(np.float32),
        poses_known=True,
        velocity=arrays["velocity"].astype(np.float32),
        velocity_known=True,
        acceleration=arrays["acceleration"].astype(np.float32),
        acceleration_known=True,
        command=Command(flags.index(1)),
        command_known=True,
    )
