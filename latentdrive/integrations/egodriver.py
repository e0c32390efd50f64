"""A planner as the driver of other simulators: AlpaSim and CARLA ask it for plans over the gRPC contract `egodriver`.

The contract's rig frame is our ego frame: it lies on the ground below the rear axle, x forward, y left. What a
session has sent up to now becomes a Scene, and the plan goes back as poses in the rig frame of now. Neither the
built-in world nor its renderer is imported.
"""

import signal
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from carla_driver_interface.driver import BaseDriver, DriveContext, DriveResult, SessionState
from carla_driver_interface.geometry import Pose
from carla_driver_interface.geometry import Trajectory as TimedPoses
from carla_driver_interface.server import bind_address, serving

from latentdrive.counting import counted
from latentdrive.errors import ConfigError
from latentdrive.evaluation.planning import SCENE_ERRORS
from latentdrive.integrations.egodriver_scene import MICRO, scene_of, token_of
from latentdrive.types import Planner, Trajectory

KEPT = 64  # frames a camera for planners that look back: 1.5 s at 30 Hz, and some to spare
LOOK_S = 0.2  # how often a server looks whether it is to end


class PlannerDriver(BaseDriver):
    """Answers every `drive` call of a simulator with the planner's plan.

    cameras: the simulator's name of each camera that the planner needs, by NAVSIM's name in lower case. say: is told
    how each session ended. Where the planner can't plan, as before the first picture, the answer is an empty plan,
    which means "hold"; the session counts it, with its reason. Raises ConfigError where a needed camera has no name.
    """

    name = "latentdrive"

    def __init__(self, planner: Planner, *, cameras: Mapping[str, str], say: Callable[[str], None]) -> None:
        needed = planner.needs.cameras
        if unnamed := [camera for camera in needed if camera not in cameras]:
            raise ConfigError(
                f"cameras lacks the simulator's name of {', '.join(unnamed)}, which the planner needs: add "
                f"+cameras.{unnamed[0]}=NAME"
            )
        self.planner, self.say = planner, say
        self.cameras = {camera: cameras[camera] for camera in needed}
        self.looks_back = planner.needs.frames == "all"
        self.frame_history_length = KEPT if self.looks_back else 1
        self.sessions = self.plans = self.held = 0  # sessions: that have ended; held: calls without a plan
        self._running: dict[str, _Told] = {}
        self._one_at_a_time = threading.Lock()  # sessions call from several threads, and a network serves one

    def on_session_start(self, session: SessionState) -> None:
        """Raise ConfigError where the simulator has not declared a camera that the planner needs."""
        if missing := [name for name in self.cameras.values() if name not in session.cameras]:
            raise ConfigError(
                f"the simulator declared no camera {', '.join(missing)}; it declared "
                f"{', '.join(sorted(session.cameras)) or 'none'}. cameras.NAME=ID says which one is which"
            )
        self._running[session.uuid] = _Told()

    def on_session_close(self, session: SessionState) -> None:
        """Say how many plans the session got, and why it got no more."""
        told = self._running.pop(session.uuid)
        self.sessions, self.plans = self.sessions + 1, self.plans + told.plans
        self.held += told.refusals.total()
        self.say(f"Session {session.scene_id or session.uuid}: {counted(told.plans, 'plan')}")
        for reason, times in told.refusals.items():
            self.say(f"  {counted(times, 'call')} without a plan: {reason}")

    def drive(self, ctx: DriveContext) -> DriveResult:
        """The plan from now on, in the rig frame."""
        session, told = ctx.session, self._running[ctx.session.uuid]
        try:
            scene = scene_of(session, ctx.time_now_us, cameras=self.cameras, looks_back=self.looks_back)
            with self._one_at_a_time:
                plan = self.planner.plan([scene])
        except SCENE_ERRORS as error:
            told.refusals[str(error).removeprefix(f"{token_of(session, ctx.time_now_us)}: ")] += 1
            return DriveResult(trajectory_in_rig=TimedPoses.empty(), debug_scalars={"planned": 0.0})
        told.plans += 1
        return DriveResult(trajectory_in_rig=timed_poses(plan, ctx.time_now_us), debug_scalars={"planned": 1.0})


@dataclass
class _Told:
    """What a running session was told: the number of plans, and the reasons of calls without one."""

    plans: int = 0
    refusals: Counter[str] = field(default_factory=Counter)


def timed_poses(plan: Trajectory, now_us: int) -> TimedPoses:
    """A planner's only plan as the contract's timed poses."""
    times = [now_us + round(step * plan.dt_s / MICRO) for step in range(1, plan.poses.shape[-2] + 1)]
    return TimedPoses(times, [Pose.from_xyz_yaw(x, y, 0.0, heading) for x, y, heading in plan.poses[0].tolist()])


def serve(driver: PlannerDriver, *, host: str, port: int, mode: str, sessions: int | None) -> None:
    """Answer until the process is interrupted or terminated, or until so many sessions have ended.

    mode: what is on the other end, "carla" or "alpasim". Raises ConfigError where the address can't be taken.
    """
    ended = threading.Event()
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda *_: ended.set())  # as `docker stop` ends a simulator's driver
    try:
        with serving(driver, port=port, host=host, mode=mode) as bound:
            driver.say(f"Serving {type(driver.planner).__name__} at {bind_address(host, bound)} ({mode})")
            while not ended.wait(LOOK_S) and (sessions is None or driver.sessions < sessions):
                pass
    except RuntimeError as error:
        raise ConfigError(f"host={host} source=egodriver:{port} can't be served ({error}): is it in use?") from None
    except KeyboardInterrupt:
        driver.say("Interrupted")
