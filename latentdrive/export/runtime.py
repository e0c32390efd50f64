"""Runs a bundle in the car: camera frames and ego state in, a checked trajectory out, at every call.

This file stands alone. It needs Python 3.9 or newer, numpy and onnxruntime, and every bundle carries a copy of it:

    runtime = Runtime("bundle", provider="cpu", deadline_s=0.08)
    runtime.frame("cam_f0", pixels, time_s)          # from the camera's thread, for every camera
    runtime.ego(time_s, velocity=(8.0, 0.0), acceleration=(0.1, 0.0), command=1)
    output = runtime.plan()                          # output.poses, output.status

Errors before the loop are BundleErrors. In the loop nothing is raised: whatever is wrong with the inputs or the
network is named and counted in the status, and the plan is the previous one, shifted in time, or a comfortable stop.
No plan leaves this file unchecked. Units are metres, seconds and radians. Plans lie in the ego frame of `time_s`: the
origin is the rear axle, x forward, y left, headings counter-clockwise.
"""

from __future__ import annotations

import hashlib
import json
import math
import threading
import time
import zipfile
import zlib
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

FORMAT = 1
CARD, GOLDEN = "bundle.json", "golden.npz"
PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
PLANNED, SHIFTED, STOP = "planned", "shifted", "stop"
UNKNOWN_COMMAND = 3
KMH_PER_MPS = 3.6
LARGEST_CARD, LARGEST_GOLDEN = 10_000_000, 500_000_000  # bytes
LARGEST_SIDE, MOST_POSES, MOST_STEPS, LARGEST_PAD = 20_000, 1000, 1000, 1_000_000  # pixels or cells, and numbers
CALIBRATION = {"intrinsics": 3, "camera_to_ego": 4}  # of a camera: rows and columns
ROUNDING_S = 1e-6  # of clocks
FADING = 0.97  # a call that took long once is expected to take this much of it at the next one
Arrays = dict[str, np.ndarray]


class BundleError(Exception):
    """The bundle, the machine or the settings can't drive; raised before the loop only."""


@dataclass(frozen=True)
class Limits:
    """Every threshold of the runtime. A bundle carries their values (configs/export.yaml, latentdrive defaults).

    Time: frame_s: period of the cameras. stale_s: oldest input that is planned on. late_s: delay of arrival that is
    counted. future_s: how far ahead of the clock a time stamp may lie. apart_s: largest difference between the times
    of the cameras. queue: frames a camera may have waiting. alarm_share, alarm_frames: an alarm is raised when more
    than this share of the last so many expected frames is missing (openpilot: 20 %).
    Motion: moving_mps: speed above which equal pictures mean a frozen camera; frozen_frames: how many of them.
    highest_mps, jump_mps2: speed and change of speed that no car reaches. unit_samples, unit_low, unit_high: samples,
    and range of the ratio of reported to true motion that means km/h.
    Plans: strongest_mps2, lateral_mps2, curvature_per_m: bounds on their acceleration and curvature. reach_m: slack of
    the distance that the speed bound allows. start_mps: how far the plan's first speed may be from the ego's.
    Fallbacks: shift_s: how long the previous plan is kept. brake_mps2: of the comfortable stop.
    """

    frame_s: float
    stale_s: float
    late_s: float
    future_s: float
    apart_s: float
    queue: int
    alarm_share: float
    alarm_frames: int
    moving_mps: float
    frozen_frames: int
    highest_mps: float
    jump_mps2: float
    unit_samples: int
    unit_low: float
    unit_high: float
    strongest_mps2: float
    lateral_mps2: float
    curvature_per_m: float
    reach_m: float
    start_mps: float
    shift_s: float
    brake_mps2: float

    @classmethod
    def of(cls, values: Mapping[str, float]) -> Limits:
        """The limits that a bundle carries. Raises BundleError for names or values that are none."""
        kinds = {entry.name: {"int": int, "float": float}[str(entry.type)] for entry in fields(cls)}
        if missing := sorted(kinds.keys() - values.keys()):
            raise BundleError(f"limits: {', '.join(missing)} is missing: export the bundle again")
        for name, value in values.items():
            if name not in kinds or isinstance(value, bool) or not isinstance(value, (int, float)):
                raise BundleError(f"limits: {name}={value} is no threshold of this runtime")
            if not (math.isfinite(value) and value > 0):
                raise BundleError(f"limits: {name}={value} must be a positive number")
        return cls(**{name: kinds[name](value) for name, value in values.items()})


# ---- the bundle ----


def read_card(folder: Path, *, complete: bool = True) -> dict:
    """The card of a bundle. complete: also compare every file with its sum. Raises BundleError; nothing is run."""
    folder = Path(folder)
    if not (folder / CARD).is_file():
        raise BundleError(f"{folder} is no bundle: it has no {CARD}; name a folder that `latentdrive export` wrote")
    raw = (folder / CARD).read_bytes()[: LARGEST_CARD + 1]
    try:
        card = json.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{folder / CARD} can't be read ({str(error)[:100]}): copy the bundle again") from None
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        said = card.get("format") if isinstance(card, dict) else None
        raise BundleError(f"{folder / CARD} has format {said}, this runtime reads {FORMAT}: export the bundle again")
    if card.get("sum") != sum_of(card):
        raise BundleError(f"{folder / CARD} was altered: it does not fit its own sum; copy the bundle again")
    try:
        wrong = wrong_entry(card)
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        wrong = f"{type(error).__name__} {error}"
    if wrong is not None:
        raise BundleError(f"{folder / CARD} is no card that this runtime writes ({wrong}): export the bundle again")
    if complete:
        _require_files(folder, card["files"])
    return card


def wrong_entry(card: Mapping) -> str | None:
    """What of a card this runtime can't use; None for a card as `latentdrive export` writes it.

    Raises AttributeError, KeyError, OverflowError, TypeError or ValueError for entries of another kind.
    """
    named = [card[name] for name in ("kind", "backend", "precision")]
    if not all(isinstance(value, str) for value in (*named, *card["files"], *card["files"].values())):
        return "names and sums must be text"
    if not card["graphs"]:
        return "it has no graph"
    for name, graph in card["graphs"].items():
        if graph["file"] not in card["files"] or not all(isinstance(n, str) for n in graph["inputs"]):
            return f"the graph {name} is no file of the bundle, or its inputs have no names"
    sizes = [(facts["height"], facts["width"]) for facts in card["cameras"].values()]
    if not all(_whole(side, LARGEST_SIDE) for size in sizes for side in size):
        return f"a camera's size must be whole numbers up to {LARGEST_SIDE}"
    matrices = [(facts[key], rows) for facts in card["cameras"].values() for key, rows in CALIBRATION.items()]
    if any(matrix is not None and np.asarray(matrix, float).shape != (rows, rows) for matrix, rows in matrices):
        return "a camera's calibration must be a 3 x 3 and a 4 x 4 matrix"
    if not set(card["calibrated"]) <= set(card["cameras"]):
        return "a camera that is calibrated is not there"
    if not math.isfinite(float(card["golden"]["tolerance"])):
        return "the tolerance of the golden plan must be a number"
    return _wrong_grid(card["lidar"]) or (_wrong_plan(card) if "plan" in card else None)


def _wrong_grid(lidar: Mapping | None) -> str | None:
    if lidar is None:
        return None
    cells = 2 * float(lidar["half_m"]) * float(lidar["cells_per_m"])
    heights = [float(lidar[name]) for name in ("split_m", "top_m")]
    good = 1 <= cells <= LARGEST_SIDE and all(map(math.isfinite, heights)) and _whole(lidar["full"], LARGEST_SIDE)
    return None if good and isinstance(lidar["ground"], bool) else "the LiDAR's grid can't be counted in"


def _wrong_plan(card: Mapping) -> str | None:
    """What of a planner's card can't be used."""
    Limits.of(card["limits"])
    if not (_whole(card["plan"]["poses"], MOST_POSES) and 0 < float(card["plan"]["dt_s"]) <= 10):
        return f"a plan has up to {MOST_POSES} poses, up to 10 s apart"
    settings, cold = card["anytime"], card["scratchpad"]
    told = {"velocity", "acceleration", "command", *(f"picture_{name}" for name in card["cameras"])}
    told |= set(CALIBRATION) if card["calibrated"] else set()
    told |= ({"lidar"} if card["lidar"] else set()) | ({"scratchpad"} if settings else set())
    first = card["graphs"].get("begin" if settings else "plan", {"inputs": ()})
    if unknown := set(first["inputs"]) - told:
        return f"the first graph takes {sorted(unknown)[0]}, which no sensor of the card gives"
    if settings is None:
        at_once = set(card["graphs"]) == {"plan"} and cold is None
        return None if at_once else "a planner that plans at once has one graph, plan, and no scratchpad"
    if set(card["graphs"]) != {"begin", "step", "coda"}:
        return "a planner that refines has the graphs begin, step and coda"
    units, probe = np.asarray(settings["pose_units"], float), settings["probe"]
    if units.shape != (3,) or not (_whole(settings["most_steps"], MOST_STEPS) and float(settings["delta"]) >= 0):
        return "the numbers of its steps can't be used"
    if probe is not None and not math.isfinite(float(probe)):
        return "its probe must be null or a number"
    values = np.asarray(cold["values"], np.float32)
    return None if values.size <= LARGEST_PAD and values.reshape(cold["shape"]).size else "its scratchpad has no shape"


def _whole(value: object, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= most


def sum_of(card: Mapping[str, object]) -> str:
    """The sum over all entries of a card but the sum itself."""
    entries = {name: value for name, value in card.items() if name != "sum"}
    return hashlib.sha256(json.dumps(entries, sort_keys=True).encode()).hexdigest()


def _require_files(folder: Path, sums: Mapping[str, str]) -> None:
    for name, expected in sums.items():
        path = folder / name
        if "/" in name or "\\" in name or not name.strip("."):
            raise BundleError(f"{folder / CARD} lists {name}, which is no file of the bundle")
        if path.is_symlink() or not path.is_file():
            raise BundleError(f"{folder} lacks {name}: copy the bundle again")
        if file_sum(path) != expected:
            raise BundleError(f"{path} was altered: its sum is not the card's; copy the bundle again")


def file_sum(path: Path) -> str:
    """The sha256 of a file."""
    hashed = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            hashed.update(block)
    return hashed.hexdigest()


def read_golden(folder: Path) -> tuple[Arrays, Arrays]:
    """Inputs and outputs that the bundle was made with. Raises BundleError where they can't be read."""
    try:
        with zipfile.ZipFile(Path(folder) / GOLDEN) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > LARGEST_GOLDEN:
                raise ValueError(f"it holds more than {LARGEST_GOLDEN // 1_000_000} MB")
        with np.load(Path(folder) / GOLDEN, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (
        AttributeError,
        EOFError,
        KeyError,
        OSError,
        TypeError,
        ValueError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise BundleError(f"{Path(folder) / GOLDEN} can't be read ({error}): export the bundle again") from None
    given = {name[3:]: value for name, value in arrays.items() if name.startswith("in_")}
    made = {name[4:]: value for name, value in arrays.items() if name.startswith("out_")}
    return given, made


# ---- the network ----


@dataclass(frozen=True)
class Refined:
    """What the network gave. steps: of an anytime planner. movement: of its plan at the last step, in pose units;
    infinite for fewer than two steps, NaN for a planner that does not refine."""

    poses: np.ndarray
    steps: int = 0
    movement: float = math.nan
    scratchpad: np.ndarray | None = None


Session = Callable[[Arrays], Arrays]


class Engine:
    """The graphs of a bundle. sessions: by graph, arrays in and arrays out. calls: longest recent call, in seconds."""

    def __init__(
        self, card: Mapping, sessions: Mapping[str, Session], clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.card, self.sessions, self.clock = card, dict(sessions), clock
        self.settings = card.get("anytime")
        self.inputs = {name: tuple(graph["inputs"]) for name, graph in card["graphs"].items()}
        self.calls = {name: 0.0 for name in self.sessions}
        self.provider = "given"
        cold = card.get("scratchpad")
        self.cold = None if cold is None else np.asarray(cold["values"], np.float32).reshape(cold["shape"])

    @property
    def first_call_s(self) -> float:
        """How long the shortest way to a plan takes: its calls at their longest."""
        return self.calls["begin"] if self.settings else self.calls["plan"]

    def plan(
        self, feeds: Arrays, *, deadline: float = math.inf, scratchpad: np.ndarray | None = None, most: int = 0
    ) -> Refined:
        """One plan. deadline: on the clock; a step is begun only where it will end in time.

        most: steps at most; 0 takes the bundle's.
        """
        if not self.settings:
            return Refined(self._call("plan", feeds)["trajectory"])
        start = self.cold if scratchpad is None else scratchpad
        begun = self._call("begin", {**feeds, "scratchpad": start})
        return self._refine(begun, deadline, most or int(self.settings["most_steps"]))

    def _refine(self, begun: Arrays, deadline: float, most: int) -> Refined:
        units = np.asarray(self.settings["pose_units"], np.float32)
        delta, probe = float(self.settings["delta"]), self.settings["probe"]
        first, pad = begun["trajectory"], begun["scratchpad_out"]
        state = {name: value for name, value in begun.items() if name not in ("trajectory", "scratchpad_out")}
        plan, steps, moved, decoded = first, 0, math.inf, 0
        need = self.calls["step"] + self.calls["coda"]
        while steps < most and self.clock() + need <= deadline:
            before, old = pad, plan
            pad = self._call("step", {**state, "scratchpad": pad})["scratchpad_out"]
            steps += 1
            rests = probe is None or float(np.mean((pad - before) ** 2)) < probe
            if not rests and steps < most:
                continue
            plan = self._call("coda", {**state, "scratchpad": pad})["trajectory"]
            if decoded == steps - 1 and decoded:
                moved = float(np.mean(((plan - old) / units) ** 2))
            decoded = steps
            need = self.calls["step"] + self.calls["coda"]
            if moved < delta:
                break
        if decoded < steps:
            plan = self._call("coda", {**state, "scratchpad": pad})["trajectory"]
        return Refined(plan, steps, moved, pad)

    def _call(self, graph: str, feeds: Arrays) -> Arrays:
        start = self.clock()
        outputs = self.sessions[graph]({name: feeds[name] for name in self.inputs[graph]})
        self.calls[graph] = max(self.clock() - start, FADING * self.calls[graph])
        return outputs


def open_engine(folder: Path, *, provider: str = "cpu", threads: int = 0, check: bool = True) -> Engine:
    """The network of an ONNX bundle. provider: cpu, cuda or tensorrt; where it is missing, the CPU computes and
    `engine.provider` says so. check: run the golden input. Raises BundleError."""
    folder, card = Path(folder), read_card(Path(folder))
    if card["backend"] != "onnx":
        raise BundleError(f"{folder} holds {card['backend']} graphs, and this runtime runs onnx: export it again")
    names, said = _providers(provider)
    sessions = {name: open_session(folder / graph["file"], names, threads) for name, graph in card["graphs"].items()}
    engine = Engine(card, sessions)
    engine.provider = said
    if check:
        require_golden(engine, folder)
    return engine


def _providers(provider: str) -> tuple[list[str], str]:
    import onnxruntime

    if provider not in PROVIDERS:
        raise BundleError(f"provider={provider} is unknown: choose {', '.join(PROVIDERS)}")
    there = onnxruntime.get_available_providers()
    if PROVIDERS[provider] in there:
        return list(dict.fromkeys([PROVIDERS[provider], PROVIDERS["cpu"]])), provider
    reason = f"cpu in place of {provider}, which this onnxruntime {onnxruntime.__version__} does not have"
    return [PROVIDERS["cpu"]], reason


def open_session(path: Path, providers: Sequence[str], threads: int) -> Session:
    """An ONNX file as a function of arrays. Raises BundleError where onnxruntime can't open it."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=list(providers))
    except Exception as error:  # onnxruntime's own errors share no base
        reason = " ".join(str(error).split())[:200]
        raise BundleError(
            f"onnxruntime {onnxruntime.__version__} can't open {path} ({reason}): install the version that the "
            "bundle names, or export it again"
        ) from None
    names = [output.name for output in session.get_outputs()]
    return lambda feeds: dict(zip(names, session.run(names, feeds)))


def require_golden(engine: Engine, folder: Path) -> float:
    """Raise BundleError unless the golden input gives the golden plan; returns the largest difference."""
    if "plan" not in engine.card:
        raise BundleError(f"{folder} holds a {engine.card['kind']}, which makes no plan: export a planner")
    given, made = read_golden(folder)
    try:
        for _ in range(2):  # the first call also prepares
            engine.calls = {name: 0.0 for name in engine.calls}
            poses = engine.plan(given, most=int(made["steps"]) if "steps" in made else 0).poses
        difference = float(np.abs(poses - made["trajectory"]).max())
    except Exception as error:  # onnxruntime's own errors share no base
        reason = " ".join(str(error).split())[:200]
        raise BundleError(f"{folder}: its graphs can't plan its golden input ({reason}): export it again") from None
    most = float(engine.card["golden"]["tolerance"])
    if not difference <= most:
        raise BundleError(
            f"{folder}: the golden input gives a plan that is {difference:.2g} away from the golden one, and at most "
            f"{most:.2g} is allowed: this machine computes something else; export the bundle for it"
        )
    return difference


# ---- plans ----


def faults_of(poses: np.ndarray, dt_s: float, speed_mps: float, limits: Limits) -> list[str]:
    """Why a plan [P, 3] can't be driven by a car of this speed; empty for one that can."""
    if not (isinstance(poses, np.ndarray) and poses.ndim == 2 and poses.shape[1] == 3 and len(poses) > 1):
        return ["plan_shape"]
    if not np.isfinite(poses).all():
        return ["plan_not_finite"]
    path = np.vstack([np.zeros(3), poses.astype(np.float64)])
    moved = np.diff(path[:, :2], axis=0)
    lengths = np.hypot(moved[:, 0], moved[:, 1])
    headings = path[:-1, 2] + 0.5 * ((np.diff(path[:, 2]) + np.pi) % (2 * np.pi) - np.pi)
    along = moved[:, 0] * np.cos(headings) + moved[:, 1] * np.sin(headings)  # negative: backwards
    speeds = np.copysign(lengths, along) / dt_s
    faults = []
    if np.abs(speeds).max() > limits.highest_mps:
        faults.append("plan_speed")
    horizon_m = limits.reach_m + dt_s * len(poses) * min(
        limits.highest_mps, speed_mps + limits.strongest_mps2 * dt_s * len(poses)
    )
    if np.hypot(poses[:, 0], poses[:, 1]).max() > horizon_m:
        faults.append("plan_reach")
    if abs(speeds[0] - speed_mps) > limits.start_mps or np.abs(np.diff(speeds)).max() > limits.strongest_mps2 * dt_s:
        faults.append("plan_acceleration")
    turned = np.abs((np.diff(path[:, 2]) + np.pi) % (2 * np.pi) - np.pi)
    # Where the car hardly moves, noise of the heading has no curvature; it may turn as far as on the slack.
    if (turned > limits.curvature_per_m * (lengths + 0.5)).any():
        faults.append("plan_curvature")
    if (turned / dt_s * np.abs(speeds) > limits.lateral_mps2).any():
        faults.append("plan_lateral")
    return faults


class Path2d:
    """The way that a plan describes, by the distance along it; straight ahead behind its end."""

    BEYOND_M = 400.0

    def __init__(self, poses: np.ndarray) -> None:
        path = np.vstack([np.zeros(3), poses.astype(np.float64)])
        path[:, 2] = np.unwrap(path[:, 2])
        far = self.BEYOND_M * np.array([math.cos(path[-1, 2]), math.sin(path[-1, 2]), 0.0])
        path = np.vstack([path, path[-1] + far])
        steps = np.hypot(*np.diff(path[:, :2], axis=0).T)
        keep = np.concatenate([[True], steps > 1e-6])
        self.poses = path[keep]
        self.along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(self.poses[:, :2], axis=0).T))])

    def at(self, distances: np.ndarray) -> np.ndarray:
        """Poses at these distances."""
        return np.stack([np.interp(distances, self.along, column) for column in self.poses.T], -1)


def seen_from(poses: np.ndarray, origin: np.ndarray) -> np.ndarray:
    """Poses in the frame of another pose of the same frame."""
    cosine, sine = math.cos(origin[2]), math.sin(origin[2])
    moved = poses[:, :2] - origin[:2]
    turned = (poses[:, 2] - origin[2] + np.pi) % (2 * np.pi) - np.pi
    x, y = moved[:, 0] * cosine + moved[:, 1] * sine, moved[:, 1] * cosine - moved[:, 0] * sine
    return np.stack([x, y, turned], -1).astype(np.float32)


def shifted(poses: np.ndarray, dt_s: float, age_s: float) -> np.ndarray:
    """A plan as seen `age_s` later by a car that followed it; its last speed is kept behind its end."""
    path = np.vstack([np.zeros(3), poses.astype(np.float64)])
    path[:, 2] = np.unwrap(path[:, 2])
    last = path[-1] + (path[-1] - path[-2]) * np.array([1.0, 1.0, 0.0]) * len(poses)
    times = dt_s * np.append(np.arange(len(path)), 2 * len(poses))
    path = np.vstack([path, last])
    at = lambda moments: np.stack([np.interp(moments, times, column) for column in path.T], -1)  # noqa: E731
    return seen_from(at(age_s + dt_s * np.arange(1, len(poses) + 1)), at(np.array([age_s]))[0])


def stopping(path: Path2d, speed_mps: float, brake_mps2: float, since_s: float, dt_s: float, count: int) -> np.ndarray:
    """A stop along a path, as seen `since_s` after braking began at `speed_mps`."""
    whole = speed_mps / brake_mps2
    times = np.minimum(since_s + dt_s * np.arange(count + 1), whole)
    poses = path.at(speed_mps * times - 0.5 * brake_mps2 * times**2)
    return seen_from(poses[1:], poses[0])


# ---- inputs ----


@dataclass
class Camera:
    """One camera's queue of (time, pixels). equal: how many pictures in a row were the same."""

    shape: tuple[int, int, int]
    queue: deque
    last_s: float = -math.inf
    content: int = 0
    equal: int = 0
    expected: deque = field(default_factory=deque)  # of the last frames that should have come: 1 missed, 0 there


@dataclass(frozen=True)
class Ego:
    """One sample of the ego's state."""

    time_s: float
    velocity: tuple[float, float]
    acceleration: tuple[float, float]
    command: int
    distance_m: float | None


@dataclass(frozen=True)
class Status:
    """What happened. source: planned, shifted or stop. faults: why it is not `planned`, or what else was noticed.

    alarm: too many frames are missing; missed: their share. counts: of everything since the start. elapsed_s: of this
    call. steps, movement: see Refined.
    """

    source: str
    faults: tuple[str, ...]
    alarm: bool
    missed: float
    elapsed_s: float
    steps: int
    movement: float
    provider: str
    counts: Mapping[str, int]


@dataclass(frozen=True)
class Output:
    """A checked plan. time_s: the moment in whose ego frame it lies. dt_s: between its poses."""

    poses: np.ndarray
    dt_s: float
    time_s: float
    status: Status


class Runtime:
    """A bundle in the car. Frames and ego states may come from other threads; `plan` is called by one.

    deadline_s: of one call of `plan`; null for none. clock: seconds on the time axis of the inputs' time stamps.
    cameras: sizes (rows, columns) that the cameras really have, compared with the bundle's. calibration: by camera
    (intrinsics [3, 3], camera_to_ego [4, 4]), in place of the bundle's. absent: cameras that this car lacks; the
    network gets black pictures there, on which it was not trained. engine: in place of the bundle's own graphs. Raises
    BundleError.
    """

    def __init__(
        self,
        bundle: str,
        *,
        provider: str = "cpu",
        deadline_s: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        threads: int = 0,
        cameras: Mapping[str, tuple[int, int]] | None = None,
        calibration: Mapping[str, tuple[np.ndarray, np.ndarray]] | None = None,
        absent: Sequence[str] = (),
        limits: Limits | None = None,
        warm_start: bool = True,
        engine: Engine | None = None,
    ) -> None:
        self.engine = open_engine(Path(bundle), provider=provider, threads=threads) if engine is None else engine
        self.engine.clock = clock
        self.card, self.clock, self.warm_start = self.engine.card, clock, warm_start
        self.limits = Limits.of(self.card["limits"]) if limits is None else limits
        self.dt_s, self.poses = float(self.card["plan"]["dt_s"]), int(self.card["plan"]["poses"])
        self.cameras = {name: self._camera(facts) for name, facts in self.card["cameras"].items()}
        self._require_cameras(cameras or {})
        self.black = self._black(absent)
        self.calibration = self._calibrate(calibration or {})
        self.deadline_s = deadline_s
        self._require_deadline()
        self.counts: Counter = Counter()
        self.egos: deque = deque(maxlen=self.limits.unit_samples)
        self.points: tuple[float, np.ndarray] | None = None
        self.scratchpad: np.ndarray | None = None
        self.good: tuple[float, np.ndarray] | None = None  # time and poses of the last plan of the network
        self.braking: tuple[float, float, Path2d] | None = None  # since when, from which speed, along what
        self.lock = threading.Lock()

    # ---- before the loop ----

    def _camera(self, facts: Mapping) -> Camera:
        return Camera(
            shape=(int(facts["height"]), int(facts["width"]), 3),
            queue=deque(),
            expected=deque(maxlen=self.limits.alarm_frames),
        )

    def _black(self, absent: Sequence[str]) -> Arrays:
        """Black pictures in place of cameras that this car lacks; nothing is expected of these any more."""
        for name in absent:
            self._require_camera(name)
        return {f"picture_{name}": np.zeros(self.cameras.pop(name).shape, np.uint8) for name in absent}

    def _require_camera(self, name: str) -> None:
        if name not in self.cameras:
            raise BundleError(f"the bundle has no camera {name}: its cameras are {', '.join(self.cameras)}")

    def _require_cameras(self, sizes: Mapping[str, tuple[int, int]]) -> None:
        for name, size in sizes.items():
            self._require_camera(name)
            expected = self.cameras[name].shape[:2]
            if tuple(size) != expected:
                raise BundleError(
                    f"{name} gives pictures of {size[0]} x {size[1]}, the bundle was exported for {expected[0]} x "
                    f"{expected[1]}: set the camera to that size, or export from data of the camera's size"
                )

    def _calibrate(self, given: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Arrays:
        """The arrays of the calibration, for planners that take one."""
        names = list(self.card["calibrated"])
        if not names:
            return {}
        pairs = []
        for name in names:
            facts = self.card["cameras"][name]
            pair = given.get(name, (facts["intrinsics"], facts["camera_to_ego"]))
            if pair[0] is None or pair[1] is None:
                raise BundleError(f"{name} has no calibration: give calibration={{'{name}': (K, camera_to_ego)}}")
            pair = tuple(np.asarray(value, np.float32) for value in pair)
            if pair[0].shape != (3, 3) or pair[1].shape != (4, 4) or not all(np.isfinite(v).all() for v in pair):
                raise BundleError(f"the calibration of {name} must be a finite 3 x 3 and a finite 4 x 4 matrix")
            if not (pair[0][0, 0] > 0 and pair[0][1, 1] > 0):
                raise BundleError(f"the intrinsics of {name} have no positive focal length")
            pairs.append(pair)
        return {"intrinsics": np.stack([p[0] for p in pairs]), "camera_to_ego": np.stack([p[1] for p in pairs])}

    def _require_deadline(self) -> None:
        first = self.engine.first_call_s
        if self.deadline_s is not None and not self.deadline_s > first:
            raise BundleError(
                f"deadline_s={self.deadline_s} is shorter than the first call, which takes {first:.4f} s here: allow "
                "more, or export a faster bundle"
            )

    # ---- inputs ----

    def frame(self, camera: str, pixels: Any, time_s: Any) -> None:
        """A picture, RGB [H, W, 3] uint8, taken at time_s. Pictures that can't be used are counted."""
        with self.lock:
            reason = self._frame(camera, pixels, time_s)
            self.counts[reason or "frames"] += 1

    def _frame(self, name: str, pixels: Any, time_s: Any) -> str | None:
        """Why the picture was not taken; None where it was."""
        camera, limits = self.cameras.get(name), self.limits
        if camera is None:
            return "unknown_camera"
        if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.shape != camera.shape:
            return "wrong_picture"
        if (wrong := self._wrong_time(time_s, camera.last_s)) is not None:
            return wrong
        content = zlib.crc32(np.ascontiguousarray(pixels[:: max(1, len(pixels) // 32)]).tobytes())
        camera.equal = camera.equal + 1 if content == camera.content else 0
        camera.content = content
        if self.clock() - time_s > limits.late_s:
            self.counts["late"] += 1
        if math.isfinite(camera.last_s):
            missed = max(0, round((time_s - camera.last_s) / limits.frame_s) - 1)
            camera.expected.extend([1] * min(missed, limits.alarm_frames) + [0])
            self.counts["missed_frames"] += missed
        camera.last_s = time_s
        camera.queue.append((time_s, pixels))
        if len(camera.queue) > limits.queue:
            camera.queue.popleft()
            self.counts["dropped"] += 1
        return None

    def _wrong_time(self, time_s: Any, last_s: float) -> str | None:
        """Why a time stamp can't be used; None where it can."""
        if isinstance(time_s, bool) or not isinstance(time_s, (int, float)) or not math.isfinite(time_s):
            return "wrong_time"
        if time_s > self.clock() + self.limits.future_s:
            return "from_the_future"
        if time_s == last_s:
            return "duplicated"
        if time_s < last_s:
            return "reordered" if last_s - time_s <= self.limits.stale_s else "backwards"
        return None

    def ego(
        self,
        time_s: Any,
        *,
        velocity: Any,
        acceleration: Any,
        command: Any = UNKNOWN_COMMAND,
        distance_m: float | None = None,
    ) -> None:
        """The ego's state: forward and left, m/s and m/s^2. distance_m: of the odometer, where there is one."""
        with self.lock:
            reason = self._ego(time_s, velocity, acceleration, command, distance_m)
            self.counts[reason or "egos"] += 1

    def _ego(self, time_s, velocity, acceleration, command, distance_m) -> str | None:
        last = self.egos[-1] if self.egos else None
        if (wrong := self._wrong_time(time_s, -math.inf if last is None else last.time_s)) is not None:
            return f"ego_{wrong}"
        try:
            values = np.array([*velocity, *acceleration], np.float64)
        except (TypeError, ValueError):
            return "ego_wrong_shape"
        if values.shape != (4,):
            return "ego_wrong_shape"
        if not np.isfinite(values).all() or (distance_m is not None and not math.isfinite(distance_m)):
            return "ego_not_finite"
        if math.hypot(values[0], values[1]) > self.limits.highest_mps:
            return "ego_too_fast"
        if last is not None and time_s - last.time_s < self.limits.stale_s:
            jump = abs(values[0] - last.velocity[0])
            if jump > self.limits.jump_mps2 * (time_s - last.time_s) + 0.5:
                return "ego_jump"
        known = (
            command if isinstance(command, (int, np.integer)) and 0 <= command < UNKNOWN_COMMAND else UNKNOWN_COMMAND
        )
        pairs = (float(values[0]), float(values[1])), (float(values[2]), float(values[3]))
        self.egos.append(Ego(float(time_s), *pairs, int(known), distance_m))
        return None

    def lidar(self, points: Any, time_s: Any) -> None:
        """A point cloud [N, 3 or more] in the ego frame; rows that are not finite are left out."""
        with self.lock:
            wrong = self._wrong_time(time_s, -math.inf if self.points is None else self.points[0])
            if wrong is None and isinstance(points, np.ndarray) and points.ndim == 2 and points.shape[1] >= 3:
                self.points = (float(time_s), points[np.isfinite(points[:, :3]).all(1)])
            self.counts["lidars" if wrong is None else f"lidar_{wrong}"] += 1

    # ---- the loop ----

    def plan(self) -> Output:
        """The plan of now. Never raises, and never gives a plan that was not checked."""
        start = self.clock()
        with self.lock:
            faults, feeds, moment = self._look(start)
        made = None
        if not faults:
            made, faults = self._think(feeds, start)
        source, poses, moment = self._choose(made, moment, start)
        missed = self._missed()
        late = self.deadline_s is not None and self.clock() - start > self.deadline_s + ROUNDING_S
        faults = [*faults, *(["deadline"] if late else [])]
        self.counts.update([source, *faults])
        alarm = missed > self.limits.alarm_share
        self.counts["alarms"] += alarm
        status = Status(
            source=source,
            faults=tuple(faults),
            alarm=alarm,
            missed=missed,
            elapsed_s=self.clock() - start,
            steps=0 if made is None else made.steps,
            movement=math.nan if made is None else made.movement,
            provider=self.engine.provider,
            counts=dict(self.counts),
        )
        return Output(poses, self.dt_s, moment, status)

    def _look(self, now: float) -> tuple[list[str], Arrays, float]:
        """Faults of the newest inputs, the inputs, and the time of the newest picture."""
        faults, feeds, times = [], {**self.calibration, **self.black}, []
        speed = math.hypot(*self.egos[-1].velocity) if self.egos else 0.0
        for name, camera in self.cameras.items():
            while len(camera.queue) > 1:
                camera.queue.popleft()
            if not camera.queue:
                faults.append(f"missing_{name}")
                continue
            taken, pixels = camera.queue[0]
            times.append(taken)
            feeds[f"picture_{name}"] = pixels
            if now - taken > self.limits.stale_s:
                faults.append(f"stale_{name}")
            elif camera.equal >= self.limits.frozen_frames and speed > self.limits.moving_mps:
                faults.append(f"frozen_{name}")
        if times and max(times) - min(times) > self.limits.apart_s:
            faults.append("cameras_apart")
        faults += self._look_at_ego(now, feeds) + self._look_at_points(now, feeds)
        return faults, feeds, max(times) if times else now

    def _look_at_ego(self, now: float, feeds: Arrays) -> list[str]:
        if not self.egos:
            return ["missing_ego"]
        ego = self.egos[-1]
        if now - ego.time_s > self.limits.stale_s:
            return ["stale_ego"]
        feeds["velocity"] = np.array([ego.velocity], np.float32)
        feeds["acceleration"] = np.array([ego.acceleration], np.float32)
        feeds["command"] = np.array([ego.command], np.int64)
        ratio = unit_ratio(list(self.egos), self.limits)
        return ["speed_in_kmh"] if self.limits.unit_low < ratio < self.limits.unit_high else []

    def _look_at_points(self, now: float, feeds: Arrays) -> list[str]:
        facts = self.card.get("lidar")
        if facts is None:
            return []
        if self.points is None:
            return ["missing_lidar"]
        feeds["lidar"] = histogram(self.points[1], facts)
        return ["stale_lidar"] if now - self.points[0] > self.limits.stale_s else []

    def _think(self, feeds: Arrays, start: float) -> tuple[Refined | None, list[str]]:
        deadline = math.inf if self.deadline_s is None else start + self.deadline_s
        try:
            pad = self.scratchpad if self.warm_start else None
            made = self.engine.plan(feeds, deadline=deadline, scratchpad=pad)
        except Exception:  # whatever a provider raises, the car needs a plan
            self.scratchpad = None
            return None, ["network_failed"]
        speed = math.hypot(*self.egos[-1].velocity)
        faults = faults_of(made.poses, self.dt_s, speed, self.limits)
        good = not faults and (made.scratchpad is None or np.isfinite(made.scratchpad).all())
        self.scratchpad = made.scratchpad if good else None
        return (made, []) if not faults else (None, faults)

    def _choose(self, made: Refined | None, moment: float, now: float) -> tuple[str, np.ndarray, float]:
        """The network's plan, else the previous one, else a stop; each is checked."""
        if made is not None:
            poses = made.poses.astype(np.float32)
            self.good, self.braking = (moment, poses), None
            return PLANNED, poses, moment
        self.scratchpad = None  # the next frame is not the next one of the same view
        if self.braking is None and self.good is not None and now - self.good[0] <= self.limits.shift_s:
            poses = shifted(self.good[1], self.dt_s, max(0.0, now - self.good[0]))
            if not faults_of(poses, self.dt_s, self._speed_of_good(now), self.limits):
                return SHIFTED, poses, now
            self.counts["shift_refused"] += 1
        return STOP, self._stop(now), now

    def _stop(self, now: float) -> np.ndarray:
        if self.braking is None:
            speed, path = self._speed(), np.zeros((1, 3))
            if self.good is not None and now - self.good[0] <= self.limits.shift_s + self.limits.stale_s:
                path = shifted(self.good[1], self.dt_s, max(0.0, now - self.good[0]))
            self.braking = (now, speed, Path2d(path))
        since, speed, path = self.braking
        for way in (path, Path2d(np.zeros((1, 3)))):  # straight ahead where the way can't be driven
            poses = stopping(way, speed, self.limits.brake_mps2, now - since, self.dt_s, self.poses)
            left = max(0.0, speed - self.limits.brake_mps2 * (now - since))
            if not faults_of(poses, self.dt_s, left, self.limits):
                return poses
        self.counts["stop_refused"] += 1
        return np.zeros((self.poses, 3), np.float32)  # a car of an absurd speed: ask for standing still

    def _speed(self) -> float:
        """The last speed that was plausible; 0 where none is known."""
        if not self.egos:
            return 0.0
        ratio = unit_ratio(list(self.egos), self.limits)
        divide = KMH_PER_MPS if self.limits.unit_low < ratio < self.limits.unit_high else 1.0
        return max(0.0, self.egos[-1].velocity[0]) / divide

    def _speed_of_good(self, now: float) -> float:
        """The speed that the last plan asks for now."""
        age, poses = now - self.good[0], np.vstack([np.zeros(3), self.good[1]])
        speeds = np.hypot(*np.diff(poses[:, :2], axis=0).T) / self.dt_s
        return float(speeds[min(int(age / self.dt_s), len(speeds) - 1)])

    def _missed(self) -> float:
        """The largest share of missing frames among the cameras, of the frames expected last."""
        shares = [sum(c.expected) / self.limits.alarm_frames for c in self.cameras.values()]
        return max(shares, default=0.0)


def unit_ratio(egos: Sequence[Ego], limits: Limits) -> float:
    """How many times the motion that speeds report is the motion that the odometer, else the acceleration, reports.

    1 where nothing can be told. Speeds in km/h give 3.6.
    """
    if len(egos) < limits.unit_samples:
        return 1.0
    times = np.array([e.time_s for e in egos])
    speeds = np.array([e.velocity[0] for e in egos])
    steps = np.diff(times)
    if egos[0].distance_m is not None and egos[-1].distance_m is not None:
        driven = egos[-1].distance_m - egos[0].distance_m
        told = float(np.sum(steps * (speeds[1:] + speeds[:-1]) / 2))
        return told / driven if driven > 1.0 else 1.0
    pushes = np.array([e.acceleration[0] for e in egos])
    pushed = steps * (pushes[1:] + pushes[:-1]) / 2
    power = float(np.sum(pushed**2))
    if power < len(steps) * (0.3 * float(steps.mean())) ** 2:  # below 0.3 m/s^2 noise decides
        return 1.0
    return float(np.sum(pushed * np.diff(speeds)) / power)


def histogram(points: np.ndarray, facts: Mapping) -> np.ndarray:
    """LiDAR points counted in cells, as latentdrive's LidarGrid does: [channels, cells along x, along y]."""
    half, split, full = float(facts["half_m"]), float(facts["split_m"]), int(facts["full"])
    low = points[points[:, 2] < float(facts["top_m"])]
    parts = [low[low[:, 2] <= split]] if facts["ground"] else []
    parts.append(low[low[:, 2] > split])
    edges = np.linspace(-half, half, round(2 * half * float(facts["cells_per_m"])) + 1)
    counts = [np.histogramdd(part[:, :2], bins=(edges, edges))[0] for part in parts]
    return np.stack([np.minimum(count, full) / full for count in counts]).astype(np.float32)
