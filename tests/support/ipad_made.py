"""A very small iPad, its inputs, and prepared scenes that score its plans."""

from dataclasses import replace

import numpy as np
import torch

from latentdrive.build import build
from latentdrive.pdms.scene import VX, ScoringScene
from latentdrive.planners.inputs.batch import PlannerInputs, PlannerTargets
from latentdrive.planners.ipad.model import Ipad
from tests.support.made_scenes import Other, driving, made_scene, plan_of

CAMERAS = ["cam_f0", "cam_l0", "cam_r0", "cam_b0"]
HEIGHT, WIDTH, FOCAL = 32, 48, 30.0
YAWS_DEG = (0.0, 60.0, -60.0, 180.0)
PASSES, PROPOSALS, POSES = 3, 6, 8
LATENTS = {"visual_width": 12, "action_width": 10}
FUSION = {
    "_target_": "latentdrive.planners.latents.fusion.LatentFusion",
    **LATENTS,
    "width": 32,
    "tokens": 2,
    "heads": 2,
}
NODE = {
    "_target_": "latentdrive.planners.ipad.model.Ipad",
    "sensors": {
        "_target_": "latentdrive.planners.inputs.sensors.Sensors",
        "cameras": {
            "_target_": "latentdrive.planners.inputs.sensors.Surround",
            "names": CAMERAS,
            "height": HEIGHT,
            "width": WIDTH,
        },
        "lidar": None,
    },
    "backbone": "test_convnext",
    "stages": [1, 2],
    "stride": 16,
    "weights": "none",
    "normalise": True,
    "train_backbone": "all",
    "grid_mask": 0.0,
    "proposals": PROPOSALS,
    "poses": POSES,
    "passes": PASSES,
    "width": 32,
    "hidden": 64,
    "heads": 2,
    "grid_points": 4,
    "heights": 4,
    "low_m": -2.0,
    "high_m": 6.0,
    "reach_m": 32.0,
    "pose_units": [10.0, 2.0, 0.3],
    "box_unit_m": 10.0,
    "fusion": None,
}


def camera_to_ego(yaw_deg: float, position: tuple[float, float, float] = (1.5, 0.0, 1.6)) -> torch.Tensor:
    """Pose of a level camera that looks in this direction; its axes are right, down, forward."""
    yaw = np.deg2rad(yaw_deg)
    forward = np.array([np.cos(yaw), np.sin(yaw), 0.0])
    right = np.array([np.sin(yaw), -np.cos(yaw), 0.0])
    pose = np.eye(4)
    pose[:3, :3] = np.stack([right, [0.0, 0.0, -1.0], forward], 1)
    pose[:3, 3] = position
    return torch.from_numpy(pose).float()


def pinhole(height: int = HEIGHT, width: int = WIDTH, focal: float = FOCAL) -> torch.Tensor:
    return torch.tensor([[focal, 0.0, width / 2], [0.0, focal, height / 2], [0.0, 0.0, 1.0]])


def made_inputs(count: int, seed: int = 0) -> PlannerInputs:
    """Inputs with noise as pictures, a real calibration, and a different ego state for each scene."""
    draw = torch.Generator().manual_seed(seed)
    poses = torch.stack([camera_to_ego(yaw) for yaw in YAWS_DEG])
    return PlannerInputs(
        tokens=tuple(f"scene{k}" for k in range(count)),
        velocity=torch.stack([torch.arange(count) % 4 + 4.0, torch.zeros(count)], 1),
        acceleration=torch.zeros(count, 2),
        command=torch.arange(count) % 4,
        cameras=torch.randint(0, 256, (count, 4, 3, HEIGHT, WIDTH), dtype=torch.uint8, generator=draw),
        intrinsics=pinhole().expand(count, 4, 3, 3).clone(),
        camera_to_ego=poses.expand(count, 4, 4, 4).clone(),
    )


def scoring_scene(speed: float, *others: Other, generation: int = 1, token: str = "scene") -> ScoringScene:
    """An ego that drives along x, and other road users. PDM-Closed gets 20 m far."""
    ego = np.zeros(11)
    ego[VX] = speed
    return made_scene(*others, ego=ego, generation=generation, token=token)


def made_task(count: int) -> tuple[PlannerInputs, PlannerTargets, list[ScoringScene]]:
    """Inputs, targets and scenes. The humans keep their speed, but every fourth one stops for a parked car."""
    inputs, scenes, plans = made_inputs(count), [], []
    for number, token in enumerate(inputs.tokens):
        speed, stops = inputs.velocity[number, 0].item(), number % 4 == 3
        others = (Other("vehicle", 12.0 + 2.2 * speed, 0.0),) if stops else (Other("vehicle", 20.0, 8.0),)
        scenes.append(scoring_scene(speed, *others, token=token))
        slower = np.maximum(speed - 0.25 * speed * np.arange(41) * 0.1, 0.0) if stops else speed
        plans.append(plan_of(driving(slower)))
    return inputs, PlannerTargets(trajectory=torch.from_numpy(np.stack(plans)).float()), scenes


def small(**changed) -> Ipad:
    """The model of NODE, with some arguments changed."""
    return build(NODE | changed)


def elsewhere(inputs: PlannerInputs) -> PlannerInputs:
    """The inputs with all cameras under the ground, looking down, so that they see no proposal."""
    down = torch.tensor([[0.0, -1.0, 0.0, 0.0], [-1.0, 0.0, 0.0, 0.0], [0.0, 0.0, -1.0, -50.0], [0.0, 0.0, 0.0, 1.0]])
    return replace(inputs, camera_to_ego=down.expand_as(inputs.camera_to_ego).clone())
