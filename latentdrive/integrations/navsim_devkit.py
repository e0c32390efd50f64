"""A planner checkpoint of latentdrive as an agent of the official NAVSIM devkit, v1.1 and v2.2.

This file runs in the devkit's environment (Python 3.9), where latentdrive is not installed. It
therefore imports only the standard library, numpy and navsim, and works as a copy in any folder. It
starts the planner in a process of latentdrive's own environment (planner_process.py) and exchanges
messages with it. The YAML of an agent names `navsim_devkit.LatentDriveAgent` as its `_target_`,
with the folder of this file on PYTHONPATH; docs/navsim_agent/ has one for each version of the
devkit.

A message in either direction consists of HEAD (the word `latentdrive`, the version, the length of
the header), a header in UTF-8 JSON, and the bytes of its arrays: little-endian, C order, in the
order of the header's `arrays`, a list of [name, dtype, shape]. Nothing is pickled. The other
entries of the header, and the arrays, are:

    planner, once it is loaded   planner: its class; cameras, frames (now or all), lidar: the sensors it takes
    devkit, a scene              scene; arrays poses [T, 3], velocity [T, 2], acceleration [T, 2], command [T, 4],
                                 lidar [4, N]; and of each picture, after CAMERA/FRAME/: pixels [H, W, 3], rotation,
                                 translation, intrinsics
    planner, its plan            dt_s; array poses [P, 3]
    planner, on failure          error; ended: true where the process ends with it

HEAD, MAGIC, LONGEST_HEADER, LONGEST_ARRAY, `send`, `receive` and `_read` are repeated word for word in
planner_wire.py, because neither environment can import the other's packages.
tests/integrations/test_planner_wire.py keeps the two copies equal.
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

# -P keeps the folder that the devkit was started in off the import path.
CHILD = ("-P", "-m", "latentdrive.integrations.planner_process")
# They say where the devkit's interpreter finds its packages; ours must not look there.
NOT_INHERITED = ("PYTHONPATH", "PYTHONHOME")
CAMERAS = ("cam_f0", "cam_l0", "cam_l1", "cam_l2", "cam_r0", "cam_r1", "cam_r2", "cam_b0")
NOW = 3  # index of the present frame among the four of the history
POSES, DT_S = 8, 0.5  # NAVSIM's trajectory, if the YAML gives no sampling
LAST_LINES = 30  # lines of the planner's output that an exception quotes
EXIT_S = 10.0  # time to exit for a process that closed its output; torch takes seconds

HEAD = struct.Struct("<11sHI")
MAGIC, VERSION = b"latentdrive", 1
LONGEST_HEADER = 1 << 20
LONGEST_ARRAY = 1 << 27  # bytes; a picture has 6 million


class PlannerFailed(RuntimeError):
    """The planner returned no trajectory; the text gives its reason."""


class LatentDriveAgent(AbstractAgent):
    """Plans with a latentdrive checkpoint, in a process of its own.

    Each worker of the devkit starts one process when it first needs it; the process ends with the
    agent. python: interpreter of latentdrive's environment. checkpoint: folder of a planner.
    predictor: folder of a student, for a planner that fuses latent actions. device: cpu, cuda,
    cuda:1. threads: of the planner's process; None leaves the choice to its libraries. timeout_s:
    longest time for loading, or for one plan. trajectory_sampling: required by v2.2; v1.1 has its
    own. latents: refused, because the devkit does not tell an agent which scene it plans.
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
                f"latents={latents}: a store of latent actions is looked up by the scene's token and "
                "time, and the devkit tells its agents neither. Give predictor=FOLDER, the checkpoint "
                "of a student, which predicts them from the picture"
            )
        if "trajectory_sampling" not in inspect.signature(AbstractAgent.__init__).parameters:
            super().__init__(requires_scene=False)
        elif trajectory_sampling is None:
            raise ValueError(
                "trajectory_sampling: expected a TrajectorySampling, got None. This devkit (v2) needs "
                "one in the agent's YAML: use latentdrive_agent_v2.yaml"
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
        """The state without its process: a copy in another worker starts its own."""
        return {**self.__dict__, "_child": None}

    def name(self) -> str:
        """Name of the agent in the devkit's logs."""
        return f"latentdrive {os.path.basename(os.path.normpath(self._checkpoint))}"

    def initialize(self) -> None:
        """Start the planner's process and wait until it is loaded. Raises PlannerFailed."""
        self._planner()

    def get_sensor_config(self) -> SensorConfig:
        """The sensors that the planner takes and no others; cameras of now, or of the whole
        history."""
        needs = self._planner().needs
        cameras = True if needs["frames"] == "all" else [NOW]
        chosen = {name: cameras if name in needs["cameras"] else False for name in CAMERAS}
        return SensorConfig(lidar_pc=[NOW] if needs["lidar"] else False, **chosen)

    def compute_trajectory(self, agent_input: AgentInput) -> Trajectory:
        """The plan for one scene, poses [P, 3] in float32.

        Raises PlannerFailed, after which further scenes can still be planned.
        """
        planner = self._planner()
        self._scenes += 1
        scene = f"scene {self._scenes} of this worker"
        answer, arrays = planner.ask(scene, scene_arrays(agent_input, planner.needs))
        poses, dt_s, sampling = arrays["poses"], answer["dt_s"], self._sampling
        count, step_s = (POSES, DT_S) if sampling is None else (sampling.num_poses, sampling.interval_length)
        if poses.shape != (count, 3) or abs(dt_s - step_s) > 1e-6:
            raise PlannerFailed(
                f"{self.name()}: the devkit expects {count} poses {step_s} s apart, the planner returned "
                f"an array {poses.shape}, {dt_s} s apart. Set trajectory_sampling in the agent's YAML to "
                "the sampling that the planner was trained for"
            )
        poses = poses.astype(np.float32)
        return Trajectory(poses) if sampling is None else Trajectory(poses, sampling)

    def _planner(self) -> PlannerProcess:
        # None: this is the first call, or the agent is a copy. Not usable: the process died on an
        # earlier scene, or this worker was forked from the one that started it.
        if self._child is None or not self._child.usable():
            self._child = PlannerProcess(
                self._command, name=self.name(), threads=self._threads, timeout_s=self._timeout_s
            )
        return self._child


class PlannerProcess:
    """The devkit's handle of the planner's process.

    The process ends with this object, and by itself when its input closes. needs: the sensors it
    takes, as in its first message. Raises PlannerFailed if the process does not start, does not
    load the planner, or speaks another version of the messages.
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
                f"{name}: python={command[0]} can't be started ({error.strerror}). Give the path of the "
                "interpreter of the environment in which latentdrive is installed"
            ) from error
        self._name, self._timeout_s, self._owner = name, timeout_s, os.getpid()
        self._lock = threading.Lock()
        self._last_lines: deque[str] = deque(maxlen=LAST_LINES)
        self._listener = threading.Thread(
            target=_listen, args=(self._process.stderr, self._last_lines), name=f"{name}: stderr", daemon=True
        )
        self._listener.start()
        # Runs when called, when this object is collected, or at exit, whichever comes first.
        self._end = weakref.finalize(self, _end, self._process, self._listener, self._owner)
        self.needs = self._exchange("loading the planner", None)[0]

    def usable(self) -> bool:
        """Whether the process runs and belongs to this worker, not to one that it was forked
        from."""
        return self._owner == os.getpid() and self._end.alive and self._process.poll() is None

    def ask(self, scene: str, arrays: Mapping[str, np.ndarray]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Header and arrays of the planner's answer to one scene."""
        with self._lock:  # threads that share an agent take turns
            return self._exchange(scene, arrays)

    def _exchange(
        self, scene: str, arrays: Mapping[str, np.ndarray] | None
    ) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Send a scene (None: nothing, while loading) and wait for the answer. Raises
        PlannerFailed."""
        late = threading.Event()
        timer = threading.Timer(self._timeout_s, _stop, (self._process, late))
        timer.daemon = True
        timer.start()
        answer, reason = None, "it closed its output"
        try:
            if arrays is not None:
                send(self._process.stdin, {"scene": scene}, arrays)
            answer = receive(self._process.stdout)
        except OSError as error:  # the process has stopped reading
            reason = str(error)
        except ValueError as error:  # it sent something that is not one of our messages
            reason = str(error)
            self._end()
        except BaseException:  # interrupted: the late answer would be taken for that to the next scene
            self._end()
            raise
        finally:
            timer.cancel()
        if answer is None:
            raise PlannerFailed(f"{self._name}, {scene}: {self._ended_because(late.is_set(), reason)}")
        if answer[0].get("ended"):
            self._end()
        if "error" in answer[0]:
            raise PlannerFailed(f"{self._name}: {answer[0]['error']}")
        return answer

    def _ended_because(self, late: bool, reason: str) -> str:
        """End the process; returns why it ended, and the last lines of its output."""
        with suppress(subprocess.TimeoutExpired):  # its own exit status says more than that of being killed
            self._process.wait(timeout=EXIT_S)
        self._end()
        if late:
            why = f"no answer within timeout_s={self._timeout_s:g}"
        else:
            why = f"the planner's process ended with status {self._process.returncode} ({reason})"
        if not self._last_lines:
            return f"{why}. It wrote nothing"
        return "\n".join([f"{why}. Its last lines:", *self._last_lines])


def scene_arrays(agent_input: AgentInput, needs: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The arrays of a scene's message: what the planner takes of the devkit's input, unchanged.

    Pictures and point clouds that the devkit did not load are left out.
    """
    states = agent_input.ego_statuses
    arrays = {
        "poses": np.stack([state.ego_pose for state in states]),
        "velocity": np.stack([state.ego_velocity for state in states]),
        "acceleration": np.stack([state.ego_acceleration for state in states]),
        "command": np.stack([state.driving_command for state in states]),
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
    """Write one message. header: anything that JSON can hold. arrays: of numbers or booleans.

    Raises ValueError for other arrays.
    """
    flat = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    flat = {name: array.astype(array.dtype.newbyteorder("<"), copy=False) for name, array in flat.items()}
    for name, array in flat.items():
        if array.dtype.kind not in "biuf":
            raise ValueError(f"{name}: expected an array of numbers, got one of {array.dtype}")
    layout = [[name, array.dtype.str, list(array.shape)] for name, array in flat.items()]
    text = json.dumps({**header, "arrays": layout}).encode()
    stream.write(HEAD.pack(MAGIC, VERSION, len(text)) + text)
    for array in flat.values():
        stream.write(array.reshape(-1).view(np.uint8))
    stream.flush()


def receive(stream: BufferedIOBase) -> tuple[dict[str, Any], dict[str, np.ndarray]] | None:
    """Header and arrays of the next message; None at the end of the stream.

    Raises ValueError for anything that is not a complete message of our version.
    """
    start = stream.read(HEAD.size)
    if not start:
        return None
    if len(start) < HEAD.size or not start.startswith(MAGIC):
        raise ValueError(f"expected a message that starts with {MAGIC!r}, got {start!r}")
    _, version, length = HEAD.unpack(start)
    if version != VERSION:
        raise ValueError(
            f"received a message of version {version}, expected version {VERSION}: copy navsim_devkit.py "
            "from the latentdrive that plans"
        )
    if length > LONGEST_HEADER:
        raise ValueError(f"received a header of {length} bytes, expected at most {LONGEST_HEADER}")
    try:
        header = json.loads(bytes(_read(stream, length)))
        layout = [(name, np.dtype(kind), tuple(map(int, shape))) for name, kind, shape in header.pop("arrays")]
    except (TypeError, KeyError, AttributeError, OverflowError, RecursionError, SyntaxError) as error:
        raise ValueError(f"received a header without a list of arrays ({type(error).__name__}: {error})") from error
    arrays = {}
    for name, dtype, shape in layout:
        if dtype.kind not in "biuf" or not isinstance(name, str):
            raise ValueError(f"{name}: expected an array of numbers, got one of {dtype}")
        count = dtype.itemsize
        for size in shape:
            count *= size
        if min(shape, default=0) < 0 or count > LONGEST_ARRAY:
            raise ValueError(f"{name}: expected at most {LONGEST_ARRAY} bytes, got an array of shape {shape}")
        arrays[name] = np.ndarray(shape, dtype, buffer=_read(stream, count))
    return header, arrays


def _read(stream: BufferedIOBase, count: int) -> bytearray:
    content = bytearray(count)
    view, filled = memoryview(content), 0
    while filled < count:
        length = stream.readinto(view[filled:])
        if not length:
            raise ValueError(f"the stream ended within a message: expected {count} more bytes, got {filled}")
        filled += length
    return content


def _listen(stream: BufferedIOBase, last_lines: deque[str]) -> None:
    """Copy the output of the planner's process to this worker's stderr, and keep its last lines."""
    with stream:
        for line in stream:
            text = line.decode(errors="replace").rstrip()
            last_lines.append(text)
            # This worker's stderr may be closed, but the pipe must be emptied in any case.
            with suppress(OSError, ValueError):
                print(text, file=sys.stderr)


def _stop(process: subprocess.Popen, late: threading.Event) -> None:
    late.set()
    process.kill()


def _end(process: subprocess.Popen, listener: threading.Thread, owner: int) -> None:
    if os.getpid() != owner:  # in a fork of the worker, which must leave the process alone
        return
    process.kill()
    process.wait()
    if threading.current_thread() is not listener:
        listener.join(timeout=1.0)
    for pipe in (process.stdin, process.stdout):
        with suppress(OSError):  # closing may fail to flush what the process no longer reads
            pipe.close()
