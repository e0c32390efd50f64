"""Answers an agent of the NAVSIM devkit scene by scene: turns the devkit's arrays into a Scene and
plans it.

planner_process.py provides the planner and the streams. A Scene made here holds the same numbers as
the one that data/navsim/scene_source.py opens from the same log, except for token, log and time
stamps, which the devkit does not tell its agents.
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
from latentdrive.planners.loading import load_planner
from latentdrive.types import CameraImage, Command, EgoHistory, Planner, Scene, SensorNeeds, camera_key

Arrays = Mapping[str, Shaped[np.ndarray, "..."]]  # as navsim_devkit.py sends them, by name
DRIVE = "navsim devkit"


def checkpoint_planner(folder: str, predictor: str | None, device: str) -> Planner:
    """The planner of a checkpoint folder. Raises what load_planner raises."""
    return load_planner(folder=folder, latents=None, predictor=predictor, oracle_future=False, device=device)


def run(make_planner: Callable[[], Planner], requests: BufferedIOBase, answers: BufferedIOBase) -> int:
    """Serve the planner that `make_planner` loads; returns the exit status.

    One of our own errors becomes the last answer; any other error ends in a traceback.
    """
    try:
        serve(make_planner(), requests, answers)
    except LatentDriveError as error:
        send(answers, {"error": str(error), "ended": True}, {})
        return 1
    except BrokenPipeError:  # the client no longer reads the answer
        return 0
    return 0


def serve(planner: Planner, requests: BufferedIOBase, answers: BufferedIOBase) -> None:
    """Send the sensors that the planner takes, then answer every scene until `requests` ends.

    A scene that cannot be planned is answered with the reason. Errors that are not the fault of one
    scene are raised. The messages are described in navsim_devkit.py.
    """
    needs = planner.needs
    hello = {"cameras": list(needs.cameras), "frames": needs.frames, "lidar": needs.lidar}
    send(answers, {"planner": type(planner).__name__, **hello}, {})
    while (message := receive(requests)) is not None:
        header, arrays = message
        if not isinstance(header.get("scene"), str):
            raise ValueError(f"received a message that names no scene; it holds {', '.join(header) or 'nothing'}")
        send(answers, *_answer(planner, header["scene"], arrays))


def _answer(planner: Planner, scene: str, arrays: Arrays) -> tuple[dict[str, str | float], Arrays]:
    # The devkit sends the next scene only after it has the plan of this one.
    opener = partial(scene_of, arrays=arrays, needs=planner.needs)
    plans = plan_scenes(planner, [scene], opener, batch=1, advance=lambda done: None)
    if plans.failures:
        return {"error": plans.failures[scene]}, {}
    return {"dt_s": plans.trajectories[scene].dt_s}, {"poses": plans.trajectories[scene].poses}


def scene_of(token: str, arrays: Arrays, needs: SensorNeeds) -> Scene:
    """The scene that the devkit's arrays describe. token: a name for error messages.

    Raises UnreadableScene, which names the missing sensor, or the array that is of another shape.
    """
    last = _frames(token, arrays) - 1
    frames = range(last + 1) if needs.frames == "all" else [last]
    if needs.lidar and "lidar" not in arrays:
        raise UnreadableScene(token, "the devkit sent no present point cloud (lidar_pc), and this planner needs it")
    return Scene(
        token=token,
        drive=DRIVE,
        cameras={
            camera_key(name): [_image(token, arrays, name, frame, last) for frame in frames] for name in needs.cameras
        },
        ego=_ego_history(token, arrays),
        lidar=np.ascontiguousarray(_shaped(token, arrays, "lidar", (4, None)).T, np.float32) if needs.lidar else None,
    )


def _frames(token: str, arrays: Arrays) -> int:
    """The number of frames, each with a pose, a velocity, an acceleration and a command."""
    count = len(_shaped(token, arrays, "poses", (None, 3)))
    for name, columns in (("velocity", 2), ("acceleration", 2), ("command", 4)):
        _shaped(token, arrays, name, (count, columns))
    return count


def _shaped(token: str, arrays: Arrays, name: str, shape: tuple[int | None, ...]) -> Shaped[np.ndarray, "..."]:
    """The array of this name. shape: as it must be; None for any length above 0."""
    array = arrays.get(name, np.zeros(0))
    fits = array.ndim == len(shape) and all(
        size == wanted or (wanted is None and size) for size, wanted in zip(array.shape, shape)
    )
    if not fits:
        wanted = " x ".join("n" if size is None else str(size) for size in shape)
        raise UnreadableScene(token, f"the devkit sent {name} of shape {array.shape}, expected {wanted}")
    return array


def _image(token: str, arrays: Arrays, name: str, frame: int, last: int) -> CameraImage:
    if f"{name}/{frame}/pixels" not in arrays:
        when = "the present" if frame == last else f"{(last - frame) * STEP_S} s ago"
        raise UnreadableScene(token, f"the devkit sent no picture of {name} from {when}, and this planner needs it")
    pixels, rotation, translation, intrinsics = (
        _shaped(token, arrays, f"{name}/{frame}/{part}", shape)
        for part, shape in (
            ("pixels", (None, None, 3)),
            ("rotation", (3, 3)),
            ("translation", (3,)),
            ("intrinsics", (3, 3)),
        )
    )
    camera_to_ego = np.eye(4)  # NAVSIM's lidar frame is the ego frame
    camera_to_ego[:3, :3], camera_to_ego[:3, 3] = rotation, translation
    size = pixels.shape[:2]
    return CameraImage(
        pixels=np.ascontiguousarray(pixels.transpose(2, 0, 1)),
        # Of the picture at its stored size, by the same function as for a log, so that no bit
        # differs.
        intrinsics=scaled_intrinsics(intrinsics.astype(np.float64), view=WHOLE, stored=size, size=size),
        camera_to_ego=camera_to_ego.astype(np.float32),
    )


def _ego_history(token: str, arrays: Arrays) -> EgoHistory:
    flags = arrays["command"][-1].tolist()
    if sorted(flags) != [0, 0, 0, 1]:
        raise UnreadableScene(token, f"driving_command: expected one 1 and three 0, got {flags}")
    return EgoHistory(
        times_s=STEP_S * np.arange(1 - len(arrays["poses"]), 1),  # nominal: the devkit sends no time stamps
        poses=arrays["poses"].astype(np.float32),
        poses_known=True,
        velocity=arrays["velocity"].astype(np.float32),
        velocity_known=True,
        acceleration=arrays["acceleration"].astype(np.float32),
        acceleration_known=True,
        command=Command(flags.index(1)),
        command_known=True,
    )
