"""One log: what a frame must hold, the message for a frame that lacks it, and the columns of a whole log."""

import os
import pickle
import re
from pathlib import Path, PurePosixPath

import numpy as np
import pytest

from latentdrive.data.navsim.frames import BadFrame, heading_of, log_frame
from latentdrive.data.navsim.log import PROBLEMS, NavsimLog, log_of, open_log, read_log
from latentdrive.data.pickles.names import StandIn
from latentdrive.data.pickles.reading import loads
from latentdrive.errors import UnreadableLogFile
from tests.support.navsim_fixture import FORWARD, INTRINSICS, START_US, frames, token, write_log


def log(tmp_path: Path, content) -> NavsimLog:
    return read_log(write_log(tmp_path, "north", content))


def test_a_log_in_columns_holds_what_its_frames_do(tmp_path: Path):
    columns = log(tmp_path, frames("north"))
    assert len(columns) == 20 and columns.place == "us-ma-boston" and not columns.problems.any()
    np.testing.assert_allclose(columns.poses[3], [1000, 2007.5, np.pi / 2])
    assert columns.timestamps_us[3] == START_US + 1_500_000 and columns.tokens[3].decode() == token("north", 3)
    np.testing.assert_array_equal(columns.motion[3], np.float32([5, 0.1, 0.2, 0.3]))
    assert columns.route(3) == ("101", "102", "103") and columns.route(9) == () and not columns.has_route[9]
    assert columns.image(3, "cam_l0") == f"north/CAM_L0/{token('north', 3)}.jpg"
    assert columns.lidar(3) == f"north/MergedPointCloud/{token('north', 3)}.pcd"
    np.testing.assert_array_equal(columns.rotation[3, 0], FORWARD)
    np.testing.assert_array_equal(columns.intrinsics[3, 7], INTRINSICS)


@pytest.mark.parametrize("degrees", [-170.0, -90.0, 0.0, 30.0, 179.0])
def test_a_heading_is_the_quaternions_yaw_of_any_length(degrees: float):
    half = np.radians(degrees) / 2
    assert np.degrees(heading_of(3.0 * np.array([np.cos(half), 0, 0, np.sin(half)]))) == pytest.approx(degrees)


def test_on_a_slope_the_heading_is_the_devkits_and_not_the_usual_yaw():
    # R = Rx(roll) Ry(pitch) Rz(yaw) with a yaw of 40 degrees.
    roll, pitch, yaw = np.radians([10.0, 20.0, 40.0])
    rx = np.array([[1, 0, 0], [0, np.cos(roll), -np.sin(roll)], [0, np.sin(roll), np.cos(roll)]])
    ry = np.array([[np.cos(pitch), 0, np.sin(pitch)], [0, 1, 0], [-np.sin(pitch), 0, np.cos(pitch)]])
    rz = np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
    matrix = rx @ ry @ rz
    w = np.sqrt(1 + np.trace(matrix)) / 2
    x, y, z = (
        (matrix[2, 1] - matrix[1, 2]) / (4 * w),
        (matrix[0, 2] - matrix[2, 0]) / (4 * w),
        (matrix[1, 0] - matrix[0, 1]) / (4 * w),
    )
    assert heading_of(np.array([w, x, y, z])) == pytest.approx(yaw)
    assert np.arctan2(matrix[1, 0], matrix[0, 0]) != pytest.approx(yaw, abs=0.01)


def changed(**keys):
    return frames("north", 1)[0] | keys


def without(key: str):
    entry = frames("north", 1)[0]
    del entry[key]
    return entry


def annotated(**keys):
    entry = frames("north", 1)[0]
    return entry | {"anns": entry["anns"] | keys}


def viewed(**keys):
    entry = frames("north", 1)[0]
    return entry | {"cams": entry["cams"] | {"CAM_B0": entry["cams"]["CAM_B0"] | keys}}


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (without("token"), "key missing: token: expected, but not there"),
        (without("ego_dynamic_state"), "key missing: ego_dynamic_state"),
        (changed(token=17), "wrong shape or type: token: expected text, got 17"),
        (changed(timestamp=1.5), r"wrong shape or type: timestamp: expected whole microseconds, got 1\.5"),
        (changed(ego2global_translation=np.zeros(2)), "ego2global_translation: expected 3 numbers, got 2"),
        (changed(ego2global_translation=np.array([0, np.nan, 0])), "not finite: ego2global_translation: .*got nan"),
        (changed(ego2global_rotation=np.zeros(4)), "impossible value: ego2global_rotation: .*got zeros"),
        (changed(ego_dynamic_state=[1, 2, float("inf"), 4]), "not finite: ego_dynamic_state"),
        (
            changed(ego2global_translation=np.array([0, 1e300, 0])),
            "impossible value: .*up to 1e.09, got 1e.300",
        ),
        (changed(ego_dynamic_state="fast"), "ego_dynamic_state: expected 4 numbers, got 'fast'"),
        (changed(driving_command=np.array([0, 1, 1, 0])), "impossible value: driving_command: expected one 1"),
        (changed(traffic_lights=[(1, True, 2)]), "traffic_lights: expected pairs"),
        (changed(roadblock_ids="101"), "roadblock_ids: expected a list, got '101'"),
        (changed(cams={}), r"key missing: cams\.cam_f0: expected"),
        (changed(lidar_path="../../secret"), "impossible value: lidar_path: expected a path below the sensor folder"),
        (viewed(data_path="/etc/passwd"), r"impossible value: cams\.cam_b0\.data_path"),
        (viewed(cam_intrinsic=np.eye(4)), r"cams\.cam_b0\.cam_intrinsic: expected 3 x 3 numbers, got 4 x 4"),
        (
            annotated(track_tokens=["a"]),
            "anns: expected equal lengths, got gt_boxes 2, .*track_tokens 1, gt_velocity_3d 2",
        ),
        (annotated(gt_boxes=np.zeros((2, 6))), r"anns\.gt_boxes: expected 2 x 7 numbers, got 2 x 6"),
        (annotated(gt_names=np.array(["vehicle", "tram"])), r"anns\.gt_names: expected one of vehicle, .*got 'tram'"),
        ([], "wrong shape or type: frame: expected a dictionary, got list"),
    ],
)
def test_a_bad_frame_says_the_key_what_was_expected_and_what_came(entry, words):
    with pytest.raises(BadFrame) as caught:
        log_frame(entry)
    assert re.search(words, f"{caught.value.kind}: {caught.value}"), f"{caught.value.kind}: {caught.value}"


def test_a_path_may_be_an_object_of_pathlib():
    path = loads(pickle.dumps(PurePosixPath("north/CAM_F0/a.jpg")), "a file")
    assert isinstance(path, StandIn) and log_frame(changed(lidar_path=path)).lidar == "north/CAM_F0/a.jpg"
    with pytest.raises(BadFrame, match="below the sensor folder"):
        log_frame(changed(lidar_path=StandIn(module="pathlib", kind="PosixPath", args=("/", "etc"), called=True)))


ODD = (
    None,
    True,
    -1,
    1 << 70,
    1.5,
    float("nan"),
    "",
    "x",
    "a" * 5000,
    "a\0",
    "\ud800",
    b"x",
    [],
    [1],
    [[1], [1, 2]],
    ["\ud800"],
    [None, None],
    [[None, None]],
    {},
    {"a": 1},
    set(),
    np.zeros(()),
    np.zeros(2),
    np.zeros((2, 0)),
    np.array(["x"]),
    np.array([None, 1], object),
    [10**400] * 4,
    StandIn(module="navsim.common.dataclasses", kind="Trajectory"),
)


def places(value, path=()):
    """Every key of nested dictionaries, from the outside in."""
    for key, inner in value.items():
        yield (*path, key)
        if isinstance(inner, dict):
            yield from places(inner, (*path, key))


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: repr(odd)[:20].encode("unicode_escape").decode())
def test_any_value_in_a_frame_is_accepted_or_named(odd):
    checked = 0
    for path in places(frames("north", 1)[0]):
        if path[0] == "cams" and len(path) > 1 and path[1] not in ("CAM_F0",):
            continue
        entry = frames("north", 1)[0]
        inner = entry
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = odd
        try:
            log_of([log_frame(entry)])
        except BadFrame as error:
            assert path[-1].removeprefix("gt_").lower() in str(error).lower() or path[0] in str(error)
            assert len(str(error)) < 500
        checked += 1
    assert checked == 32


def test_a_bad_frame_keeps_its_row_and_its_reason(tmp_path: Path):
    content = frames("north")
    content[5]["ego2global_translation"] = np.array([np.nan, 0, 0])
    content[7]["timestamp"] = content[6]["timestamp"]
    columns = log(tmp_path, content)
    assert [PROBLEMS[k] for k in columns.problems[[4, 5, 6, 7, 8]]] == ["", "not finite", "", "time does not grow", ""]
    assert columns.reason(5).startswith("frame 5, ego2global_translation: expected finite numbers, got nan")
    before = START_US + 3_000_000
    assert columns.reason(7) == (
        f"frame 7, timestamp: expected more than {before} of the frame before, got {before}: one of the two is wrong"
    )
    np.testing.assert_allclose(columns.poses[8], [1000, 2020, np.pi / 2])


def test_impossible_boxes_are_left_out_and_counted(tmp_path: Path):
    content = frames("north", 3)
    content[0]["anns"]["gt_boxes"][0, 3] = 0.0
    content[1]["anns"]["gt_boxes"][:, 4] = [np.nan, -1.0]
    content[2]["anns"]["gt_boxes"][0, 5] = 0.0  # nobody's score knows the height
    columns = log(tmp_path, content)
    assert (
        np.diff(columns.object_ends).tolist() == [1, 0, 2]
        and columns.lost_boxes.tolist() == [1, 2, 0]
        and not columns.problems.any()
    )
    assert columns.track_tokens[columns.tracks[0]] == b"cone"


def test_frames_without_objects_and_without_annotations_differ(tmp_path: Path):
    content = frames("north", 3)
    content[0]["anns"] = {
        "gt_boxes": np.zeros((0, 7)),
        "gt_names": np.array([], dtype="<U1"),
        "gt_velocity_3d": np.zeros((0, 3)),
        "instance_tokens": [],
        "track_tokens": [],
    }
    del content[1]["anns"]
    columns = log(tmp_path, content)
    assert np.diff(columns.object_ends).tolist() == [0, 0, 2] and columns.annotated.tolist() == [True, False, True]
    assert not columns.problems.any()


def test_the_alias_of_las_vegas_is_translated(tmp_path: Path):
    assert log(tmp_path, [changed(map_location="las_vegas")]).place == "us-nv-las-vegas-strip"


def test_files_that_are_no_logs_are_named(tmp_path: Path):
    with pytest.raises(UnreadableLogFile, match=r"north\.pkl: it holds dict, a NAVSIM log is a list of frames"):
        log(tmp_path, {})
    path = write_log(tmp_path, "north", frames("north", 2))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UnreadableLogFile, match=r"north\.pkl: refused: .*cut short"):
        read_log(path)
    path.write_bytes(b"\x80\x04cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(UnreadableLogFile, match=r"north\.pkl: refused: .*os\.system"):
        read_log(path)
    with pytest.raises(UnreadableLogFile, match=r"frame|it holds StandIn"):
        log(tmp_path, StandIn(module="navsim.common.dataclasses", kind="Trajectory"))


def equal(a: NavsimLog, b: NavsimLog) -> bool:
    return all(
        np.array_equal(getattr(a, name), getattr(b, name), equal_nan=getattr(a, name).dtype.kind == "f")
        for name in a.__slots__
    )


def test_a_cached_log_is_the_same_and_made_anew_where_it_is_damaged_or_old(tmp_path: Path):
    path, cache = write_log(tmp_path, "north", frames("north")), tmp_path / "cache" / "north.npz"
    first = open_log(path, cache)
    written_ns = cache.stat().st_mtime_ns
    assert equal(open_log(path, cache), first) and cache.stat().st_mtime_ns == written_ns
    for damaged in (cache.read_bytes()[:-50], b"", b"PK\x03\x04" + bytes(500)):
        cache.write_bytes(damaged)
        assert equal(open_log(path, cache), first)
        assert len(cache.read_bytes()) > 1000
    write_log(tmp_path, "north", frames("north", 12))
    os.utime(path, ns=(1, 1))
    assert len(open_log(path, cache)) == 12


def test_nothing_in_the_cache_is_a_pickle(tmp_path: Path):
    path, cache = write_log(tmp_path, "north", frames("north")), tmp_path / "north.npz"
    open_log(path, cache)
    with np.load(cache, allow_pickle=False) as archive:
        assert all(archive[name].dtype.kind in "biufS" for name in archive.files)
