"""The first scene of a closed loop is the scene of the written data set, pictures and point cloud included."""

from pathlib import Path

import numpy as np

from latentdrive.closed_loop.views import Views
from latentdrive.data.navsim.log import read_log
from latentdrive.data.navsim.scenes import Cut, Sensors, open_scene
from latentdrive.types import SensorNeeds
from latentdrive.world.navsim.data_set import BLOBS
from latentdrive.world.rendering.cameras import ProcessRenderer
from tests.support.navsim_world import small_world

NEEDS = SensorNeeds(cameras=("cam_f0", "cam_b0"), frames="all", lidar=True)


def test_the_first_scene_is_that_of_the_data_set(tmp_path: Path):
    world = small_world({"longtail": ("test", {"tail_street": {"pedestrian": 1.0}}, 1)}, drive_s=9.0)
    world.write(tmp_path / "world", processes=1)
    order = next(iter(world.orders(tmp_path / "world")))
    log = read_log(order.files.log)
    cut = Cut(log=log, token=log.tokens[3].decode(), drive=order.name, first=0, now=3, end=4)
    sensors = Sensors(cameras=NEEDS.cameras, frames="all", lidar=True, at_least=None)
    written = open_scene(cut, tmp_path / "world" / BLOBS / "test", sensors)

    renderer = ProcessRenderer(world.sensors.cameras[world.sensors.pictures[0]])
    live = world.live_drive(order, hand_over=15)
    seen = Views(world, order, live, NEEDS, tmp_path / "blobs", renderer.opened()).scene()
    renderer.close()

    assert (seen.token, seen.drive, seen.time_s) == (written.token, written.drive, written.time_s)
    for name, pictures in written.cameras.items():
        for ours, theirs in zip(seen.cameras[name], pictures, strict=True):
            np.testing.assert_array_equal(ours.pixels, theirs.pixels)
            np.testing.assert_array_equal(ours.intrinsics, theirs.intrinsics)
    np.testing.assert_array_equal(seen.lidar, written.lidar)
    for field in ("times_s", "poses", "velocity", "acceleration"):
        np.testing.assert_array_equal(getattr(seen.ego, field), getattr(written.ego, field))
    assert seen.ego.command == written.ego.command
