"""Stands in for planner_process.py: serves a planner of the tests, chosen by the name of the
checkpoint folder. Run as a program."""

import os
import sys
import time
from pathlib import Path

import numpy as np

from latentdrive.errors import ConfigError, UnreadableScene
from latentdrive.integrations.planner_process import take_streams

WORDS = sys.argv[sys.argv.index("--checkpoint") :]
NAME = Path(WORDS[1]).name

requests, answers = take_streams()
print("a library that prints at import")
os.write(1, b"and one that knows no Python\n")

from latentdrive.integrations.planner_server import run  # noqa: E402
from latentdrive.planners.baselines.constant_velocity import ConstantVelocity  # noqa: E402
from latentdrive.planners.sampling import DT_S, NO_SENSORS  # noqa: E402
from latentdrive.types import SensorNeeds, Trajectory  # noqa: E402


class Seeing:
    """Its poses are what it saw: mean grey of each camera and frame, sum and number of the LiDAR's
    points, and the number of threads."""

    def __init__(self, frames: str) -> None:
        self.needs = SensorNeeds(cameras=("cam_f0", "cam_l0"), frames=frames, lidar=True)

    def plan(self, scenes):
        print("a planner that prints")
        values = [image.pixels.mean() for images in scenes[0].cameras.values() for image in images]
        values += [
            scenes[0].lidar.sum(dtype=np.float64),
            len(scenes[0].lidar),
            float(os.environ.get("OMP_NUM_THREADS", 0)),
        ]
        poses = np.zeros(24)
        poses[: len(values)] = values
        return Trajectory(poses=poses.reshape(1, 8, 3), dt_s=DT_S)


class Failing:
    """Fails at its second scene in the way that the checkpoint's name says."""

    needs = NO_SENSORS

    def __init__(self) -> None:
        self.scenes = 0

    def plan(self, scenes):
        self.scenes += 1
        if self.scenes == 2:
            if NAME == "dies":
                os.kill(os.getpid(), 9)
            if NAME == "raises":
                raise ZeroDivisionError("a bug of the planner")
            if NAME == "refuses":
                raise ConfigError("this planner can't go on")
            if NAME == "names":
                raise UnreadableScene(scenes[0].token, "the road is closed")
            if NAME == "sleeps":
                time.sleep(60)
        return ConstantVelocity().plan(scenes)


class Short:
    needs = NO_SENSORS

    def plan(self, scenes):
        return Trajectory(poses=np.zeros((1, 4, 3), np.float32), dt_s=1.0)


def make():
    if NAME == "unloadable":
        raise ConfigError(f"{WORDS[1]}: no planner lies there")
    if NAME == "crashing":
        raise ZeroDivisionError("while loading")
    kinds = {
        "constant_velocity": ConstantVelocity,
        "short": Short,
        "now": lambda: Seeing("now"),
        "all": lambda: Seeing("all"),
    }
    return kinds.get(NAME, Failing)()


sys.exit(run(make, requests, answers))
