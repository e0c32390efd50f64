"""Settings of decision points: what names prepared scenes, and what data without splits or sensors refuse."""

import pytest

from latentdrive.build import build
from latentdrive.config import compose
from latentdrive.errors import ConfigError
from latentdrive.types import SensorNeeds

FRONT = SensorNeeds(cameras=("cam_f0",), frames="now", lidar=False)


def scenes(*words: str):
    return build(compose("doctor", [*words, "paths.data=data"]).data).scenes


def test_prepared_scenes_are_found_in_stores_that_were_made_before():
    navsim = scenes("data=navsim")
    assert navsim.id_of("train") == "35b26c77e06e" and navsim.id_of("val") == "14fab3790291"
    assert scenes("data=navhard").id_of("navhard_two_stage") == "6e1283be7b3c"
    assert scenes("data=scenarios", "data.path=scenarios").id_of(None) == "3220147abc95"


def test_sensors_cache_and_processes_change_no_scene_and_maps_do():
    plain = scenes("data=navsim").id_of("train")
    same = (
        "data.scenes.cameras=[cam_b0]",
        "data.scenes.lidar=true",
        "data.scenes.processes=7",
        "data.cache_folder=other",
    )
    assert scenes("data=navsim", *same).id_of("train") == plain
    assert scenes("data=navsim", "data.scenes.maps.root=other").id_of("train") != plain
    assert scenes("data=navsim").with_sensors(FRONT).id_of("train") == plain


def test_the_sensors_of_a_planner_replace_those_that_are_configured():
    settings = scenes("data=navsim", "data.scenes.at_least=[540,960]").with_sensors(FRONT)
    assert (settings.cameras, settings.camera_frames, settings.lidar) == (("cam_f0",), "now", False)
    assert list(settings.pictures_at_least) == [540, 960]


def test_recorded_traffic_has_no_splits_and_no_sensors():
    settings = scenes("data=scenarios", "data.path=scenarios")
    assert not settings.has_sensors and settings.pictures_at_least is None
    with pytest.raises(ConfigError, match=r"scenarios has no splits: leave .*navtest out"):
        settings.with_split("navtest")
    with pytest.raises(ConfigError, match=r"scenarios has no pictures and no LiDAR, and cam_f0 is asked for"):
        settings.with_sensors(FRONT)
