"""What the writers of both worlds share: every order is written, and unknown roads and foreign files are refused."""

import os
import signal
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from latentdrive.errors import ConfigError, WorkerDied
from latentdrive.world.clips.writer import World
from latentdrive.world.many_drives import require_known_roads, require_only_planned, write_drives
from latentdrive.world.rendering.cameras import ProcessRenderer


@dataclass(frozen=True)
class Order:
    """A drive that needs no simulation."""

    name: str


def write(folder: Path, order: Order, renderer: ProcessRenderer) -> None:
    """Leave a file for the order, which says how large its pictures would be."""
    (folder / order.name).write_text(f"{renderer.spec.width}")


def test_every_order_is_written(tiny_world: World, tmp_path: Path):
    orders = [Order(name=f"drive_{number}") for number in range(3)]
    write_drives(partial(write, tmp_path), orders, camera=tiny_world.camera, processes=1)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {order.name: "80" for order in orders}


def test_no_orders_need_no_process(tiny_world: World, tmp_path: Path):
    write_drives(partial(write, tmp_path), [], camera=tiny_world.camera, processes=2)
    assert not list(tmp_path.iterdir())


def test_an_error_while_writing_is_raised(tiny_world: World, tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        write_drives(partial(write, tmp_path / "gone"), [Order("a")], camera=tiny_world.camera, processes=1)


def write_or_die(folder: Path, order: Order, renderer: ProcessRenderer) -> None:
    """Be killed at the drive `b`."""
    if order.name == "b":
        os.kill(os.getpid(), signal.SIGKILL)
    write(folder, order, renderer)


def test_a_drive_whose_process_is_killed_is_named_and_the_others_are_written(tiny_world: World, tmp_path: Path):
    orders = [Order(name=name) for name in "abcd"]
    with pytest.raises(WorkerDied, match=r"drive b: the process that worked on it was killed.*repeat the command"):
        write_drives(partial(write_or_die, tmp_path), orders, camera=tiny_world.camera, processes=2)
    assert {path.name for path in tmp_path.iterdir()} == {"a", "c", "d"}


def test_unknown_types_of_road_are_named_with_the_known_ones(tiny_world: World):
    with pytest.raises(ConfigError, match=r"KEY names unknown types of road: lane; world\.roads has curves, highway"):
        require_known_roads(["lane", "curves"], tiny_world.roads, "KEY")


def test_files_of_other_drives_are_counted_and_named(tmp_path: Path):
    planned = {tmp_path / "a.mp4"}
    require_only_planned(tmp_path, planned, planned)
    with pytest.raises(ConfigError, match=r"holds 2 drives of another world, for example b, c: remove"):
        require_only_planned(tmp_path, [*planned, tmp_path / "c.mp4", tmp_path / "b.mp4"], planned)
