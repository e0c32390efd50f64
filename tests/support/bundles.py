"""A made-up car for tests of the runtime: cards, limits, a clock, and engines whose plans follow the ego's speed."""

from collections.abc import Callable
from typing import Any

import numpy as np

from latentdrive.config import compose
from latentdrive.export.runtime import Engine, Limits, Runtime

SIZE = (6, 8)
CAMERAS = ("cam_l0", "cam_f0", "cam_r0")
PERIOD_S, POSES, DT_S = 0.1, 8, 0.5
SPEED_MPS = 8.0


def limits(**changed: float) -> Limits:
    """The limits of configs/limits/default.yaml, some of them changed."""
    return Limits.of(compose("export", []).limits.plain() | changed)


LIMITS = limits()


class Clock:
    """Seconds that pass only when somebody says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def card(*, anytime: bool = False, calibrated: bool = False, **changed: Any) -> dict[str, Any]:
    """The card of a bundle of three small cameras."""
    names = ["velocity", "acceleration", "command", *(f"picture_{name}" for name in CAMERAS)]
    names += ["intrinsics", "camera_to_ego"] if calibrated else []
    graphs = {"plan": {"inputs": names}}
    if anytime:
        graphs = {"begin": {"inputs": [*names, "scratchpad"]}, "step": {"inputs": ["scratchpad"]}}
        graphs["coda"] = {"inputs": ["scratchpad"]}
    camera = {"height": SIZE[0], "width": SIZE[1], "intrinsics": None, "camera_to_ego": None}
    return {
        "graphs": graphs,
        "cameras": {name: camera for name in CAMERAS},
        "calibrated": list(CAMERAS) if calibrated else [],
        "lidar": None,
        "plan": {"poses": POSES, "dt_s": DT_S},
        "limits": {name: getattr(LIMITS, name) for name in Limits.__dataclass_fields__},
        "anytime": {"pose_units": [10.0, 2.0, 0.3], "delta": 1e-9, "most_steps": 12, "probe": None}
        if anytime
        else None,
        "scratchpad": {"shape": [1, POSES, 1], "values": [1.0] * POSES} if anytime else None,
    } | changed


def straight(speed_mps: float) -> np.ndarray:
    """A plan straight ahead."""
    poses = np.zeros((POSES, 3), np.float32)
    poses[:, 0] = speed_mps * DT_S * np.arange(1, POSES + 1)
    return poses


class Network:
    """A network that takes `seconds` and drives straight ahead. spoil: changes its plan."""

    def __init__(self, clock: Clock, seconds: float = 0.02) -> None:
        self.clock, self.seconds, self.calls = clock, seconds, 0
        self.spoil: Callable[[np.ndarray], np.ndarray] = lambda poses: poses

    def __call__(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.calls += 1
        self.clock.sleep(self.seconds)
        return {"trajectory": self.spoil(straight(float(feeds["velocity"][0, 0])))}


class Anytime:
    """A planner in three pieces: every step halves the distance of its scratchpad from 0, and the plan follows it."""

    def __init__(self, clock: Clock, *, begin_s: float = 0.02, step_s: float = 0.005, coda_s: float = 0.001) -> None:
        self.clock, self.begin_s, self.step_s, self.coda_s = clock, begin_s, step_s, coda_s
        self.begun: list[np.ndarray] = []

    def sessions(self) -> dict[str, Callable]:
        return {"begin": self.begin, "step": self.step, "coda": self.coda}

    def begin(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.clock.sleep(self.begin_s)
        self.begun.append(feeds["scratchpad"])
        return {"trajectory": straight(SPEED_MPS), "scratchpad_out": feeds["scratchpad"]}

    def step(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.clock.sleep(self.step_s)
        return {"scratchpad_out": feeds["scratchpad"] / 2}

    def coda(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.clock.sleep(self.coda_s)
        return {"trajectory": straight(SPEED_MPS) + feeds["scratchpad"][0]}


class Car:
    """A runtime with its sensors. Pictures differ from frame to frame."""

    def __init__(self, runtime: Runtime, clock: Clock) -> None:
        self.runtime, self.clock, self.count = runtime, clock, 0

    def picture(self) -> np.ndarray:
        self.count += 1
        return np.full((*SIZE, 3), self.count % 251, np.uint8)

    def sense(self, *, speed: float = SPEED_MPS, ago: float = 0.01) -> None:
        """One frame of every camera and one sample of the ego."""
        for camera in CAMERAS:
            self.runtime.frame(camera, self.picture(), self.clock() - ago)
        self.ego(speed=speed, ago=ago)

    def ego(self, *, speed: float = SPEED_MPS, ago: float = 0.01, acceleration: float = 0.0, **more: Any) -> None:
        self.runtime.ego(self.clock() - ago, velocity=(speed, 0.0), acceleration=(acceleration, 0.0), command=1, **more)


def made_car(network: Any = None, **settings: Any) -> tuple[Car, Clock, Any]:
    """A car with a made-up network; returns car, clock and network."""
    clock = Clock()
    network = Network(clock) if network is None else network(clock)
    anytime = isinstance(network, Anytime)
    sessions = network.sessions() if anytime else {"plan": network}
    engine = Engine(settings.pop("card", card(anytime=anytime)), sessions, clock)
    engine.calls.update(settings.pop("calls", {}))
    return Car(Runtime("", clock=clock, engine=engine, **settings), clock), clock, network
