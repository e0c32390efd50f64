"""A stand-in of the NAVSIM devkit, as far as its agents see it, written from the facts of its
public interface (v1.1 and v2.2).

Valid Python 3.9, numpy and torch alone: the tests put it in sys.modules in place of the devkit, in
this environment and in an older one.
"""

from __future__ import annotations

import dataclasses
import types
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

CAMERAS = ("cam_f0", "cam_l0", "cam_l1", "cam_l2", "cam_r0", "cam_r1", "cam_r2", "cam_b0")


@dataclass
class TrajectorySampling:
    num_poses: int = 8
    time_horizon: float = 4.0
    interval_length: float = 0.5


@dataclass
class Camera:
    image: Any = None
    sensor2lidar_rotation: Any = None
    sensor2lidar_translation: Any = None
    intrinsics: Any = None
    distortion: Any = None


@dataclass
class Lidar:
    lidar_pc: Any = None


@dataclass
class EgoStatus:
    ego_pose: Any
    ego_velocity: Any
    ego_acceleration: Any
    driving_command: Any


Cameras = dataclasses.make_dataclass("Cameras", CAMERAS)


@dataclass
class AgentInput:
    ego_statuses: list
    cameras: list
    lidars: list


@dataclass
class Trajectory:
    poses: Any
    trajectory_sampling: TrajectorySampling = dataclasses.field(default_factory=TrajectorySampling)

    def __post_init__(self):
        assert self.poses.ndim == 2 and self.poses.shape == (self.trajectory_sampling.num_poses, 3)


SensorConfig = dataclasses.make_dataclass("SensorConfig", (*CAMERAS, "lidar_pc"))


class AgentV1(nn.Module):
    def __init__(self, requires_scene: bool = False):
        super().__init__()
        self.requires_scene = requires_scene


class AgentV2(nn.Module):
    def __init__(self, trajectory_sampling: TrajectorySampling, requires_scene: bool = False):
        super().__init__()
        self.requires_scene = requires_scene
        self._trajectory_sampling = trajectory_sampling


def modules(version: str) -> dict[str, types.ModuleType]:
    """The modules that stand in for navsim, by name. version: v1 or v2."""
    names = ("navsim", "navsim.agents", "navsim.agents.abstract_agent", "navsim.common", "navsim.common.dataclasses")
    stubs = {name: types.ModuleType(name) for name in names}
    stubs["navsim.agents.abstract_agent"].AbstractAgent = AgentV1 if version == "v1" else AgentV2
    for kind in (AgentInput, SensorConfig, Trajectory):
        setattr(stubs["navsim.common.dataclasses"], kind.__name__, kind)
    return stubs


def agent_input(
    *,
    velocity: tuple[float, float] = (5.0, 0.0),
    cameras: tuple[str, ...] = (),
    size: tuple[int, int] = (108, 192),
    points: int = 0,
    grey: int = 7,
) -> AgentInput:
    """What the devkit gives an agent: four frames at constant velocity. cameras: seen in all of
    them. points: of the LiDAR, now."""
    states, views, lidars = [], [], []
    for frame in range(4):
        pose = np.array([velocity[0] * 0.5 * (frame - 3), 0, 0], np.float32)
        command = np.array([0, 1, 0, 0])
        states.append(EgoStatus(pose, np.array(velocity, np.float32), np.zeros(2, np.float32), command))
        images = {name: Camera() for name in CAMERAS}
        for name in cameras:
            picture = np.full((*size, 3), grey + frame, np.uint8)
            images[name] = Camera(picture, np.eye(3), np.array([1.5, 0.0, 1.6]), 100 * np.eye(3), np.zeros(5))
        views.append(Cameras(**images))
        cloud = np.arange(6 * points, dtype=np.float32).reshape(6, points)
        lidars.append(Lidar(cloud if points and frame == 3 else None))
    return AgentInput(states, views, lidars)
