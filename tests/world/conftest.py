"""The tiny world of configs/world/tiny.yaml, as an object, with the camera of the default world beside it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from latentdrive.build import build
from latentdrive.config import configs_folder
from latentdrive.data.pickles.reading import read_pickle
from latentdrive.world.clips.writer import World
from latentdrive.world.navsim.data_set import NavsimWorld, Order
from latentdrive.world.rendering.cameras import CameraSpec, Renderer
from tests.support.navsim_world import small_world


@pytest.fixture(scope="session")
def tiny_world() -> World:
    with initialize_config_dir(version_base="1.3", config_dir=str(configs_folder())):
        composed = compose("world", overrides=["world=tiny"])
    return build(OmegaConf.to_container(composed.world, resolve=True))


@pytest.fixture(scope="session")
def level_camera(tiny_world: World) -> CameraSpec:
    """Looks straight ahead from the rear axle, 160 x 96 pixels, 90 degrees: a focal length of 80 pixels."""
    return replace(tiny_world.camera, width=160, height=96, fov_deg=90.0, pitch_deg=0.0, forward_m=0.0, up_m=1.5)


@pytest.fixture(scope="session")
def renderer(level_camera: CameraSpec):
    renderer = Renderer(level_camera)
    yield renderer
    renderer.close()


@pytest.fixture(scope="session")
def navsim_world() -> NavsimWorld:
    return small_world()


@pytest.fixture(scope="session")
def navsim_folder(navsim_world: NavsimWorld, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small NAVSIM world on disk. Nobody may change it."""
    folder = tmp_path_factory.mktemp("navsim")
    navsim_world.write(folder, processes=1)
    return folder


@pytest.fixture(scope="session")
def navsim_orders(navsim_world: NavsimWorld, navsim_folder: Path) -> dict[str, Order]:
    """Every drive of the small NAVSIM world by the name of its log."""
    return {order.files.name: order for order in navsim_world.orders(navsim_folder)}


@pytest.fixture(scope="session")
def navsim_logs(navsim_orders: dict[str, Order]) -> dict[str, list[dict[str, Any]]]:
    """Every log of the small NAVSIM world by its name."""
    return {name: read_pickle(order.files.log) for name, order in navsim_orders.items()}
