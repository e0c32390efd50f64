"""The tiny world of configs/world/tiny.yaml, as an object, with the camera of the default world beside it."""

from dataclasses import replace

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from latentdrive.build import build
from latentdrive.config import configs_folder
from latentdrive.world.cameras import CameraSpec, Renderer
from latentdrive.world.writer import World


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
