"""Transfuser at full and at tiny size, weights drawn from their names, inputs drawn from a seed, and NAVSIM's names."""

import math
import re
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from latentdrive.planners.inputs.batch import PlannerInputs
from latentdrive.planners.inputs.sensors import LidarGrid, Panorama, Sensors
from latentdrive.planners.latents.fusion import LatentFusion
from latentdrive.planners.transfuser.backbone import TransfuserBackbone
from latentdrive.planners.transfuser.model import Transfuser
from latentdrive.planners.transfuser.official import PREFIX, WEIGHT_NAMES

HERE = Path(__file__).parent
# Names and shapes of all weights of NAVSIM's network, in order. LTF has one more, `_backbone.lidar_latent`.
NAMES = HERE / "transfuser_names.tsv"


def lidar_grid(*, cells_per_m: float = 4.0, ground: bool = False) -> LidarGrid:
    """NAVSIM's LiDAR histogram, or a coarser one."""
    return LidarGrid(half_m=32.0, cells_per_m=cells_per_m, split_m=0.2, top_m=100.0, full=5, ground=ground)


def full_size(lidar_input: str, *, fusion: LatentFusion | None = None) -> Transfuser:
    """A Transfuser or LTF of the published sizes."""
    backbone = TransfuserBackbone(
        image="resnet34",
        image_weights="none",
        image_frozen=0,
        normalise=False,
        lidar="resnet34",
        lidar_input=lidar_input,
        lidar_channels=1,
        lidar_cells=256,
        lidar_stride=32,
        image_anchors=(8, 32),
        lidar_anchors=(8, 8),
        exchange_blocks=2,
        exchange_heads=4,
        exchange_dropout=0.1,
    )
    sensors = Sensors(cameras=Panorama(height=256, width=1024), lidar=lidar_grid() if lidar_input == "points" else None)
    return Transfuser(
        sensors=sensors,
        fusion=fusion,
        backbone=backbone,
        width=256,
        feedforward=1024,
        layers=3,
        heads=8,
        dropout=0.0,
        agents=30,
        agents_half_m=32.0,
        semantic_width=64,
        semantic_classes=7,
        semantic_size=(128, 256),
        poses=8,
    )


def tiny(lidar_input: str, *, fusion: LatentFusion | None = None, **changed) -> Transfuser:
    """A very small one: pictures of 64 x 128 pixels, a LiDAR grid of 64 x 64 cells, a last map of 4 x 4 cells."""
    sizes = {
        "image": "test_resnet",
        "image_weights": "none",
        "image_frozen": 0,
        "normalise": True,
        "lidar": "test_resnet",
        "lidar_input": lidar_input,
        "lidar_channels": 1,
        "lidar_cells": 64,
        "lidar_stride": 16,
        "image_anchors": (2, 4),
        "lidar_anchors": (4, 4),
        "exchange_blocks": 1,
        "exchange_heads": 2,
        "exchange_dropout": 0.0,
    }
    backbone = TransfuserBackbone(**(sizes | changed))
    lidar = lidar_grid(cells_per_m=1.0) if lidar_input == "points" else None
    return Transfuser(
        sensors=Sensors(cameras=Panorama(height=64, width=128), lidar=lidar),
        fusion=fusion,
        backbone=backbone,
        width=32,
        feedforward=64,
        layers=1,
        heads=2,
        dropout=0.0,
        agents=5,
        agents_half_m=32.0,
        semantic_width=8,
        semantic_classes=7,
        semantic_size=(16, 32),
        poses=8,
    )


def official_shapes(variant: str) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and type of every weight of NAVSIM's network, by its name. variant: transfuser or ltf."""
    rows = [line.split("\t") for line in NAMES.read_text().splitlines()]
    table = {name: (tuple(int(n) for n in shape.split("x") if n), kind) for name, shape, kind in rows}
    if variant == "ltf":
        table["_backbone.lidar_latent"] = ((1, 1, 256, 256), "float32")
    return table


def official_weights(variant: str) -> dict[str, Tensor]:
    """All weights of NAVSIM's network, each drawn from its name, scaled so that every input influences every output."""
    return {name: _drawn(name, shape, kind) for name, (shape, kind) in official_shapes(variant).items()}


def official_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a Transfuser as the `state_dict` of a NAVSIM checkpoint holds them; those of a fusion are left out."""
    return {PREFIX + official_name(key): value for key, value in state.items() if not key.startswith("fusion.")}


def official_name(key: str) -> str:
    """NAVSIM's name of one of our weights; the same name where WEIGHT_NAMES has none."""
    for theirs, ours in WEIGHT_NAMES:
        if match := re.match(re.escape(ours).replace(r"\#", r"(\d+)") + r"(?=\.|$)", key):
            return theirs.replace("#", "{}").format(*match.groups()) + key[match.end() :]
    return key


def _drawn(name: str, shape: tuple[int, ...], kind: str) -> Tensor:
    if kind == "int64":
        return torch.tensor(100)
    normal = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape).astype(np.float32)
    if name.endswith("running_var"):
        values = 1.0 + 0.2 * np.abs(normal)
    elif len(shape) == 1 and name.endswith("weight"):  # of a normalisation layer
        values = (0.3 if "bn2" in name else 1.0) + 0.1 * normal
    elif len(shape) == 1:
        values = 0.1 * normal
    elif "emb" in name or "latent" in name:
        values = 0.3 * normal
    else:
        gain = 1.7 if name.split(".")[-2] in ("key", "query", "value", "proj") else 1.2
        gain = 0.2 if "_mlp_states.2" in name else gain  # 32 m x tanh would magnify rounding differences
        gain = 0.5 if "_bev_downscale" in name else gain
        values = gain * normal / math.sqrt(np.prod(shape[1:]))
    return torch.from_numpy(values.astype(np.float32))


def made_inputs(scenes: int, *, seed: int, size: tuple[int, int], cells: int | None) -> PlannerInputs:
    """Random inputs. size: rows and columns of the pictures; cells: of the LiDAR histogram, None for no LiDAR."""
    rng = np.random.RandomState(seed)
    coarse = rng.uniform(0, 255, (scenes, 1, 3, size[0] // 16, size[1] // 16))
    cameras = np.clip(coarse.repeat(16, -1).repeat(16, -2) + rng.uniform(-40, 40, (scenes, 1, 3, *size)), 0, 255)
    lidar = None
    if cells is not None:
        lidar = torch.from_numpy((rng.randint(0, 12, (scenes, 1, cells, cells)).clip(max=5) / 5).astype(np.float32))
    return PlannerInputs(
        tokens=tuple(f"scene{number}" for number in range(scenes)),
        velocity=torch.from_numpy(rng.uniform(0, 12, (scenes, 2)).astype(np.float32)),
        acceleration=torch.from_numpy(rng.uniform(-2, 2, (scenes, 2)).astype(np.float32)),
        command=torch.from_numpy(rng.randint(0, 4, scenes)),
        cameras=torch.from_numpy(cameras.astype(np.uint8)),
        lidar=lidar,
    )
