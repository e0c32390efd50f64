"""One scenario file: objects at 2 Hz, leaps of the ego, and the messages for damaged files."""

from pathlib import Path

import numpy as np
import pytest

from latentdrive.data.scenarios.file import read_scenario
from latentdrive.errors import TooManyUnreadable, UnreadableLogFile
from tests.support.scenario import logs, scenario, track, write_scenario


def test_objects_have_navsims_names_and_are_there_only_while_valid(tmp_path: Path):
    content = scenario()
    rows = len(content["metadata"]["ts"])
    way = np.column_stack([np.arange(rows) * 0.5, np.full(rows, 7.0)])
    still = np.full((rows, 2), 5.0)
    visible = (np.arange(rows) >= 10) & (np.arange(rows) <= 30)
    content["tracks"] |= {
        "car": track("VEHICLE", way, velocity=(5, 0), valid=visible),
        "walker": track("PEDESTRIAN", still, size=(0.6, 0.7, 1.8)),
        "rider": track("CYCLIST", still),
        "cone": track("TRAFFIC_CONE", still),
        "barrier": track("TRAFFIC_BARRIER", still),
        "sign": track("TRAFFIC_OBJECT", still, source="czone_sign"),
        "thing": track("OTHER", still),
        "ghost": track("VEHICLE", still, size=(0, 0, 0)),
    }
    source = logs(write_scenario(tmp_path / "a.pkl", content))
    frames = source.truth("made@1.5").frames
    names = dict(zip(frames[2].objects.tracks, frames[2].objects.names, strict=True))
    assert names == {
        "car": "vehicle",
        "walker": "pedestrian",
        "rider": "bicycle",
        "cone": "traffic_cone",
        "barrier": "barrier",
        "sign": "czone_sign",
        "thing": "generic_object",
    }
    assert ["car" in frame.objects.tracks for frame in frames[:9]] == [False, False] + [True] * 5 + [False] * 2
    car = frames[2].objects.tracks.index("car")
    np.testing.assert_allclose(frames[2].objects.poses[car], [5, 7, 0])
    np.testing.assert_allclose(frames[2].objects.velocity[car], [5, 0])
    assert (frames[2].objects.centre_z_m[car], frames[2].objects.sizes[car, 0]) == (0.9, 4.5)
    assert "1 track without a size left out" in source.summary() and "7 tracks" in source.summary()


@pytest.mark.parametrize("unknown", ["velocity", "height", "z"])
def test_an_unknown_velocity_or_height_costs_no_object_its_place(tmp_path: Path, unknown: str):
    content = scenario()
    other = track("VEHICLE", np.column_stack([np.linspace(30, 80, 101), np.full(101, 4.0)]), velocity=(5.0, 0.0))
    if unknown == "z":
        other["state"]["position"][:, 2] = np.nan
    else:
        other["state"][unknown][:] = np.nan
    content["tracks"]["other"] = other
    source = logs(write_scenario(tmp_path / "a.pkl", content))
    for frame in source.truth(source.tokens[0]).frames:
        row = frame.objects.tracks.index("other")
        np.testing.assert_allclose(frame.objects.velocity[row], [5.0, 0.0], atol=1e-6)
    assert "NaN or infinite" not in source.summary()


def test_where_the_ego_leaps_no_point_reaches_across(tmp_path: Path):
    content = scenario()
    content["tracks"]["ego"]["state"]["position"][98:, 0] -= 4.0
    source = logs(write_scenario(tmp_path / "a.pkl", content))
    assert source.tokens[-1] == "made@5.5" and len(source.truth("made@5.5").human.poses) == 8
    assert "1 leap of the ego's position cut out" in source.summary()


def broken(key: str) -> dict:
    content = scenario()
    state = content["tracks"]["ego"]["state"]
    rows = len(content["metadata"]["ts"])
    match key:
        case "no tracks":
            del content["tracks"]
        case "no times":
            del content["metadata"]["ts"]
        case "times back":
            content["metadata"]["ts"][5] = 0.1
        case "odd rate":
            content["metadata"]["ts"] = np.arange(rows) * 0.3
        case "no ego":
            content["metadata"]["sdc_id"] = "me"
        case "short state":
            state["heading"] = state["heading"][:-2]
        case "no state":
            del content["tracks"]["ego"]["state"]
        case "text":
            state["position"] = [["a", "b", "c"]] * rows
        case "no velocity":
            del state["velocity"]
        case "left":
            content["metadata"]["coordinate"] = "left-handed"
        case "light":
            content["dynamic_map_states"] = {"C": {"state": {"object_state": ["RED"]}}}
    return content


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("no tracks", "'tracks' must hold a dictionary"),
        ("no times", "metadata has no 'ts'"),
        ("times back", "finite times that grow"),
        ("odd rate", "no row within"),
        ("no ego", "sdc_id'] is 'me', and no track"),
        ("short state", r"\['heading'\] has shape \(99, 1\), expected 101 rows"),
        ("no state", r"tracks\['ego'\] holds no 'state'"),
        ("text", r"\['position'\] does not hold numbers"),
        ("no velocity", "has no 'velocity'"),
        ("left", "left and right would be exchanged"),
        ("light", r"dynamic_map_states\['C'\] must show 101 states"),
    ],
)
def test_the_problem_of_a_damaged_file_is_named(tmp_path: Path, key: str, words: str):
    file = write_scenario(tmp_path / "a.pkl", broken(key))
    with pytest.raises(TooManyUnreadable, match=rf"a\.pkl: .*{words}"):
        logs(file)


def test_nothing_that_a_pickle_asks_for_is_run(tmp_path: Path):
    class Bad:
        def __reduce__(self):
            return (Path(tmp_path / "ran").touch, ())

    write_scenario(tmp_path / "a.pkl", {"id": Bad()})
    with pytest.raises(TooManyUnreadable, match=r"a\.pkl"):
        logs(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_times_of_years_make_no_table_of_a_billion_frames(tmp_path: Path):
    content = scenario(seconds=6.0)
    content["metadata"]["ts"][-1] = 1e9
    with pytest.raises(UnreadableLogFile, match=r"covers 1000000000 s, more than 86400 s"):
        read_scenario(write_scenario(tmp_path / "a.pkl", content), ego_ahead_m=0.0)
