"""A planner checkpoint of latentdrive as an agent of the official NAVSIM devkit, v1.1 and v2.2.

This file runs in the devkit's environment (Python 3.9), where latentdrive is not installed. It therefore stands alone: it imports the
standard library, numpy and navsim, and may be copied anywhere. The planner runs in a process of latentdrive's own environment
(planner_process.py), which this one starts and asks. An agent's YAML names `navsim_devkit.LatentDriveAgent` as `_target_`, with the folder
of this file (or of its copy) on PYTHONPATH; docs/navsim_agent/ has one for each version of the devkit.

One message, in either direction: HEAD (the word `latentdrive`, version, length of the header), a header of UTF-8 JSON, and the bytes of its
arrays, little-endian, C order, in the order of the header's `arrays`, a list of [name, dtype, shape]. No pickle. The header says besides:

    planner → devkit, once it is loaded    planner, cameras, frames (now or all), lidar: its class, and what it needs of a scene
    devkit → planner, a scene              scene; arrays poses [T, 3], velocity [T, 2], acceleration [T, 2], command [T, 4], lidar [4, N],
                                           and of each picture, CAMERA/FRAME/: pixels [H, W, 3], rotation, translation, intrinsics
    planner → devkit, its plan             dt_s; array poses [P, 3]
    planner → devkit, instead of these     error; ended is true where the process ends with it

HEAD, `send`, `receive` and `_read` stand word for word in planner_wire.py as well, because neither environment has the other's packages;
tests/integrations/test_planner_wire.py keeps the two equal.
"""

from __future__ import annotations

import inspect
import json
import os
import struct
import subprocess
import sys
import threading
import weakref
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from io import BufferedIOBase
from typing import Any

import numpy as np
from navsim.agents.abstract_agent import AbstractAgent
from navsim.common.dataclasses import AgentInput, SensorConfig, Trajectory

# -P: nothing of the folder that the devkit was started in.
CHILD = ("-P", "-m", "latentdrive.integrations.planner_process")
# They tell the devkit's interpreter where its packages are; ours would look for its own there.
NOT_INHERITED = ("PYTHONPATH", "PYTHONHOME")
CAMERAS = ("cam_f0", "cam_l0", "cam_l1", "cam_l2", "cam_r0", "cam_r1", "cam_r2", "cam_b0")
NOW = 3  # of the four history frames
POSES, DT_S = 8, 0.5  # NAVSIM's trajectory, where the YAML gives no sampling
LAST_LINES = 30  # of what the planner's process wrote, in an exception
EXIT_S = 10.0  # that a process which closed its output may take to exit; torch takes its time

HEAD = struct.Struct("<11sHI")
MAGIC, VERSION = b"latentdrive", 1
LONGEST_HEADER = 1 << 20


class PlannerFailed(RuntimeError):
    """The planner gave no trajectory. The text says why, in the planner's own words where it had any."""


class LatentDriveAgent(AbstractAgent):
    """Plans with a latentdrive checkpoint. Its process starts with the first question, once in each worker, and ends with the agent.

    python: interpreter of latentdrive's environment. checkpoint: folder of a planner. predictor: folder of a student, for a planner that
    fuses latent actions. device: cpu, cuda, cuda:1. threads: of the planner's process, None: its library's choice. timeout_s: the longest
    that loading, or one plan, may take. trajectory_sampling: needed by v2.2; v1.1 has its own. latents: refused, see below.
    """

    def __init__(
        self,
        *,
        python: str,
        checkpoint: str,
        predictor: str | None = None,
        latents: str | None = None,
        device: str = "cpu",
        threads: int | None = None,
        timeout_s: float = 300.0,
        trajectory_sampling: Any = None,
    ) -> None:
        if latents is not None:
            raise ValueError(
                f"latents={latents}: a store of latent actions is looked up by the scene's token and time, and the devkit tells its agents "
                "neither. Give predictor=FOLDER, the checkpoint of a student, which predicts them from the picture"
            )
        if "trajectory_sampling" not in inspect.signature(AbstractAgent.__init__).parameters:
            super().__init__(requires_scene=False)
        elif trajectory_sampling is None:
            raise ValueError(
                "trajectory_sampling: expected a TrajectorySampling, got None. This devkit (v2) needs one in the agent's YAML: use "
                "latentdrive_agent_v2.yaml"
            )
        else:
            super().__init__(trajectory_sampling=trajectory_sampling, requires_scene=False)
        words = ["--checkpoint", os.path.abspath(os.path.expanduser(checkpoint)), "--device", device]
        if predictor is not None:
            words += ["--predictor", os.path.abspath(os.path.expanduser(predictor))]
        self._command = [os.path.expanduser(python), *CHILD, *words]
        self._checkpoint, self._threads, self._timeout_s = checkpoint, threads, timeout_s
        self._sampling = trajectory_sampling
        self._scenes = 0
        self._child: PlannerProcess | None = None

    def __getstate__(self) -> dict[str, Any]:
        """A copy in another worker starts a process of its own."""
        return {**self.__dict__, "_child": None}

    def name(self) -> str:
        """Name of the agent in the devkit's logs."""
        return f"latentdrive {os.path.basename(os.path.normpath(self._checkpoint))}"

    def initialize(self) -> None:
        """Start the planner's process and wait until it is loaded. Raises PlannerFailed with what it said."""
        self._planner()

    def get_sensor_config(self) -> SensorConfig:
        """Exactly the sensors that the planner asks for: of now, or cameras of all the history."""
        needs = self._planner().needs
        cameras = True if needs["frames"] == "all" else [NOW]
        chosen = {name: cameras if name in needs["cameras"] else False for name in CAMERAS}
        return SensorConfig(lidar_pc=[NOW] if needs["lidar"] else False, **chosen)

    def compute_trajectory(self, agent_input: AgentInput) -> Trajectory:
        """The plan for one scene, poses [P, 3] in float32. Raises PlannerFailed; the next scene is planned all the same."""
        planner = self._planner()
        self._scenes += 1
        scene = f"scene {self._scenes} of this worker"
        answer, arrays = planner.ask(scene, scene_arrays(agent_input, planner.needs))
        poses, dt_s, sampling = arrays["poses"], answer["dt_s"], self._sampling
        count, step_s = (POSES, DT_S) if sampling is None else (sampling.num_poses, sampling.interval_length)
        if poses.shape != (count, 3) or abs(dt_s - step_s) > 1e-6:
            raise PlannerFailed(
                f"{self.name()}: the devkit expects {count} poses {step_s} s apart, the planner gave an array {poses.shape}, {dt_s} s apart: "
                "set trajectory_sampling in the agent's YAML to what it was trained for"
            )
        poses = poses.astype(np.float32)
        return Trajectory(poses) if sampling is None else Trajectory(poses, sampling)

    def _planner(self) -> PlannerProcess:
        # None: the first call, or a copy. Not usable: it died of an earlier scene, or this worker was forked from the one that has it.
        if self._child is None or not self._child.usable():
            self._child = PlannerProcess(
                self._command, name=self.name(), threads=self._threads, timeout_s=self._timeout_s
            )
        return self._child


class PlannerProcess:
    """The planner's process, seen from the devkit. It ends when this object does, and by itself when its input closes.

    needs: what it needs of a scene (see the message above). Raises PlannerFailed where it does not start, load, or speak our version.
    """

    def __init__(self, command: Sequence[str], *, name: str, threads: int | None, timeout_s: float) -> None:
        environment = {key: value for key, value in os.environ.items() if key not in NOT_INHERITED}
        if threads is not None:
            environment["OMP_NUM_THREADS"] = environment["MKL_NUM_THREADS"] = str(threads)
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
            )
        except OSError as error:
            raise PlannerFailed(
                f"{name}: python={command[0]} can't be started ({error.strerror}): give the path of the interpreter of the environment "
                "that latentdrive is installed in"
            ) from error
        self._name, self._timeout_s, self._owner = name, timeout_s, os.getpid()
        self._lock = threading.Lock()
        self._last_lines: deque[str] = deque(maxlen=LAST_LINES)
        self._listener = threading.Thread(
            target=_listen, args=(self._process.stderr, self._last_lines), name=f"{name}: stderr", daemon=True
        )
        self._listener.start()
        # Called by hand, when the object is collected, and at exit.
        self._end = weakref.finalize(self, _end, self._process, self._listener, self._owner)
        self.needs = self._exchange("loading the planner", None)[0]

    def usable(self) -> bool:
        """Whether it runs, and was started by this process and not by the one that this one was forked from."""
        return self._owner == os.getpid() and self._end.alive and self._process.poll() is None

    def ask(self, scene: str, arrays: Mapping[str, np.ndarray]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """The planner's answer to one scene."""
        with self._lock:  # threads that share an agent take turns
            return self._exchange(scene, arrays)

    def _exchange(
        self, scene: str, arrays: Mapping[str, np.ndarray] | None
    ) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        late = threading.Event()
        timer = threading.Timer(self._timeout_s, _stop, (self._process, late))
        timer.daemon = True
        timer.start()
        answer, reason = None, "it closed its output"
        try:
            if arrays is not None:
                send(self._process.stdin, {"scene": scene}, arrays)
            answer = receive(self._process.stdout)
        except OSError as error:  # it reads no more
            reason = str(error)
        except ValueError as error:  # what came is no message of ours
            reason = str(error)
            self._end()
        except BaseException:  # interrupted: its answer to this scene would be taken for that to the next
            self._end()
            raise
        finally:
            timer.cancel()
        if answer is None:
            raise PlannerFailed(f"{self._name}, {scene}: {self._end_of_it(late.is_set(), reason)}")
        if answer[0].get("ended"):
            self._end()
        if "error" in answer[0]:
            raise PlannerFailed(f"{self._name}: {answer[0]['error']}")
        return answer

    def _end_of_it(self, late: bool, reason: str) -> str:
        """End the process; returns why, and what it wrote last."""
        with suppress(subprocess.TimeoutExpired):  # its own exit status says more than that of a kill
            self._process.wait(timeout=EXIT_S)
        self._end()
        if late:
            why = f"no answer within timeout_s={self._timeout_s:g}"
        else:
            why = f"the planner's process ended with status {self._process.returncode} ({reason})"
        return why + (". It wrote last:\n" + "\n".join(self._last_lines) if self._last_lines else ". It wrote nothing")


def scene_arrays(agent_input: AgentInput, needs: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """What the planner needs of the devkit's input, as it stands there. A picture or point cloud that is not there is left out."""
    states = agent_input.ego_statuses
    arrays = {
        "poses": np.stack([one.ego_pose for one in states]),
        "velocity": np.stack([one.ego_velocity for one in states]),
        "acceleration": np.stack([one.ego_acceleration for one in states]),
        "command": np.stack([one.driving_command for one in states]),
    }
    last = len(states) - 1
    for frame in range(last + 1) if needs["frames"] == "all" else [last]:
        for name in needs["cameras"]:
            camera = getattr(agent_input.cameras[frame], name)
            if camera.image is not None:
                arrays[f"{name}/{frame}/pixels"] = camera.image
                arrays[f"{name}/{frame}/rotation"] = camera.sensor2lidar_rotation
                arrays[f"{name}/{frame}/translation"] = camera.sensor2lidar_translation
                arrays[f"{name}/{frame}/intrinsics"] = camera.intrinsics
    points = agent_input.lidars[last].lidar_pc if needs["lidar"] else None
    if points is not None:
        arrays["lidar"] = points[:4]
    return arrays


def send(stream: BufferedIOBase, header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Write one message. header: what JSON can hold. arrays: numbers or booleans; others raise ValueError."""
    flat = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    flat = {name: array.astype(array.dtype.newbyteorder("<"), copy=False) for name, array in flat.items()}
    for name, array in flat.items():
        if array.dtype.kind not in "biuf":
            raise ValueError(f"{name}: expected an array of numbers, got one of {array.dtype}")
    listed = [[name, array.dtype.str, list(array.shape)] for name, array in flat.items()]
    text = json.dumps({**header, "arrays": listed}).encode()
    stream.write(HEAD.pack(MAGIC, VERSION, len(text)) + text)
    for array in flat.values():
        stream.write(array.reshape(-1).view(np.uint8))
    stream.flush()


def receive(stream: BufferedIOBase) -> tuple[dict[str, Any], dict[str, np.ndarray]] | None:
    """Header and arrays of the next message; None where the stream ends before it. Raises ValueError for anything but a message."""
    start = stream.read(HEAD.size)
    if not start:
        return None
    if len(start) < HEAD.size or not start.startswith(MAGIC):
        raise ValueError(f"expected a message that starts with {MAGIC!r}, got {start!r}")
    _, version, length = HEAD.unpack(start)
    if version != VERSION:
        raise ValueError(
            f"messages of version {version} came, this side speaks version {VERSION}: take navsim_devkit.py from the latentdrive that "
            "plans"
        )
    if length > LONGEST_HEADER:
        raise ValueError(f"a header of {length} bytes was announced, the longest has {LONGEST_HEADER}")
    header = json.loads(bytes(_read(stream, length)))
    arrays = {}
    for name, kind, shape in header.pop("arrays"):
        dtype = np.dtype(kind)
        if dtype.kind not in "biuf":
            raise ValueError(f"{name}: expected an array of numbers, got one of {dtype}")
        content = _read(stream, int(np.prod(shape, dtype=np.int64)) * dtype.itemsize)
        arrays[name] = np.ndarray(tuple(shape), dtype, buffer=content)
    return header, arrays


def _read(stream: BufferedIOBase, count: int) -> bytearray:
    content = bytearray(count)
    view, filled = memoryview(content), 0
    while filled < count:
        got = stream.readinto(view[filled:])
        if not got:
            raise ValueError(f"the stream ended within a message: expected {count} bytes more, got {filled}")
        filled += got
    return content


def _listen(stream: BufferedIOBase, last_lines: deque[str]) -> None:
    """Pass on what the planner's process writes, and remember the end of it."""
    with stream:
        for line in stream:
            text = line.decode(errors="replace").rstrip()
            last_lines.append(text)
            with suppress(
                OSError, ValueError
            ):  # the worker's own stderr may be closed; this one must be emptied all the same
                print(text, file=sys.stderr)


def _stop(process: subprocess.Popen, late: threading.Event) -> None:
    late.set()
    process.kill()


def _end(process: subprocess.Popen, listener: threading.Thread, owner: int) -> None:
    if os.getpid() != owner:  # in a fork of the worker: the process is not this one's to end
        return
    process.kill()
    process.wait()
    if threading.current_thread() is not listener:
        listener.join(timeout=1.0)
    for pipe in (process.stdin, process.stdout):
        with suppress(OSError):  # what could not be written any more
            pipe.close()
