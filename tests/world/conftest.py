"""Worlds that several tests share: the tiny world of clips, the NAVSIM world, and a small NAVSIM world on disk."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from latentdrive.build import build
from latentdrive.config import compose
from latentdrive.data.pickles.reading import read_pickle
from latentdrive.world.clips.writer import World
from latentdrive.world.navsim.city_drive import CityDrive
from latentdrive.world.navsim.data_set import NavsimWorld
from latentdrive.world.navsim.orders import Order
from latentdrive.world.rendering.cameras import CameraSpec, Renderer
from tests.support.navsim_world import small_world


@pytest.fixture(scope="session")
def tiny_world() -> World:
    """The world of configs/world/tiny.yaml."""
    return build(compose("world", ["world=tiny"]).world.plain())


@pytest.fixture(scope="session")
def city_world() -> NavsimWorld:
    """The NAVSIM world of configs/world/small.yaml."""
    return build(compose("world", ["world=small"]).world.plain())


@pytest.fixture(scope="session")
def level_camera(tiny_world: World) -> CameraSpec:
    """A camera at the rear axle that looks straight ahead: 160 x 96 pixels, 90 degrees, a focal length of 80 pixels."""
    return replace(tiny_world.camera, width=160, height=96, fov_deg=90.0, pitch_deg=0.0, forward_m=0.0, up_m=1.5)


@pytest.fixture(scope="session")
def renderer(level_camera: CameraSpec) -> Iterator[Renderer]:
    """A renderer with the level camera."""
    renderer = Renderer(level_camera)
    yield renderer
    renderer.close()


@pytest.fixture(scope="session")
def navsim_world() -> NavsimWorld:
    """The settings of the small NAVSIM world."""
    return small_world()


@pytest.fixture(scope="session")
def navsim_written(
    navsim_world: NavsimWorld, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[tuple[int, ...], CityDrive]]:
    """The folder of the small NAVSIM world, and its drives as they were simulated, by seed. Each is simulated once."""
    folder, drives = tmp_path_factory.mktemp("navsim"), {}

    def recording_drive(world: NavsimWorld, order: Order) -> CityDrive:
        drives[order.seed] = city_drive(world, order)
        return drives[order.seed]

    city_drive = NavsimWorld.city_drive
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(NavsimWorld, "city_drive", recording_drive)
        navsim_world.write(folder, processes=1)
    return folder, drives


@pytest.fixture(scope="session")
def navsim_folder(navsim_written: tuple[Path, dict]) -> Path:
    """The small NAVSIM world on disk. Tests must not change it."""
    return navsim_written[0]


@pytest.fixture(scope="session")
def navsim_orders(navsim_world: NavsimWorld, navsim_folder: Path) -> dict[str, Order]:
    """Every order of the small NAVSIM world, by the name of its log."""
    return {order.files.name: order for order in navsim_world.orders(navsim_folder)}


@pytest.fixture(scope="session")
def navsim_logs(navsim_orders: dict[str, Order]) -> dict[str, list[dict[str, Any]]]:
    """The frames of every log of the small NAVSIM world, by name."""
    return {name: read_pickle(order.files.log) for name, order in navsim_orders.items()}


@pytest.fixture(scope="session")
def navsim_drives(navsim_written: tuple[Path, dict], navsim_orders: dict[str, Order]) -> dict[str, CityDrive]:
    """Each drive of the small NAVSIM world as it was simulated, in its own plane, by the name of its log."""
    return {name: navsim_written[1][order.seed] for name, order in navsim_orders.items()}
