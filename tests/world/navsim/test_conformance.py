"""Logs of the NAVSIM world have what NAVSIM's loaders read: frames, boxes, lights, cameras and point clouds."""

import pickletools
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import shapely
from PIL import Image

from latentdrive.boxes import corners, ego_corners
from latentdrive.data.navsim.sensor_files import read_pcd
from latentdrive.geometry import compose, relative_pose, wrap_angle
from latentdrive.world.navsim.drive_writer import Stage
from latentdrive.world.navsim.log_frames import token
from latentdrive.world.rendering.cameras import Renderer
from tests.support.navsim_world import HEIGHT, PICTURES, WIDTH, ego_poses

CAMERAS = {"CAM_F0", "CAM_L0", "CAM_L1", "CAM_L2", "CAM_R0", "CAM_R1", "CAM_R2", "CAM_B0"}
NAMES = {"vehicle", "pedestrian", "bicycle", "traffic_cone", "barrier", "czone_sign", "generic_object"}
LEFT, STRAIGHT, RIGHT, UNKNOWN = range(4)
TEXT_KEYS = {
    "token",
    "log_name",
    "log_token",
    "scene_name",
    "scene_token",
    "vehicle_name",
    "map_location",
    "lidar_path",
}
ARRAY_KEYS = {  # and their shapes
    "can_bus": (18,),
    "lidar2ego_translation": (3,),
    "lidar2ego_rotation": (4,),
    "lidar2ego": (4, 4),
    "ego2global": (4, 4),
    "lidar2global": (4, 4),
    "ego2global_translation": (3,),
    "ego2global_rotation": (4,),
}
KEYS = {
    *TEXT_KEYS,
    *ARRAY_KEYS,
    "frame_idx",
    "timestamp",
    "roadblock_ids",
    "ego_dynamic_state",
    "traffic_lights",
    "driving_command",
    "cams",
    "sample_prev",
    "sample_next",
    "anns",
}


def global_boxes(frame: dict, ego: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Poses and velocities of a frame's boxes in the global frame."""
    boxes = frame["anns"]["gt_boxes"]
    poses = compose(np.broadcast_to(ego, (len(boxes), 3)).copy(), boxes[:, [0, 1, 6]])
    cos, sin = np.cos(ego[2]), np.sin(ego[2])
    return poses, frame["anns"]["gt_velocity_3d"][:, :2] @ np.array([[cos, sin], [-sin, cos]])


def test_a_frame_has_every_key_with_the_type_that_loaders_need(navsim_logs):
    for name, log in navsim_logs.items():
        for number, frame in enumerate(log):
            assert set(frame) == KEYS
            assert all(type(frame[key]) is str for key in TEXT_KEYS)
            assert len(frame["token"]) == 16 and set(frame["token"]) <= set("0123456789abcdef")
            assert frame["log_name"] == name and frame["frame_idx"] == number
            assert type(frame["timestamp"]) is int and 1.5e15 < frame["timestamp"] < 2e15
            for key, shape in ARRAY_KEYS.items():
                assert frame[key].shape == shape and frame[key].dtype == np.float64, key
                assert np.isfinite(frame[key]).all()
            assert [type(value) for value in frame["ego_dynamic_state"]] == [float] * 4
            assert all(
                type(light) is tuple and [type(part) for part in light] == [int, bool]
                for light in frame["traffic_lights"]
            )
            command = frame["driving_command"]
            assert command.shape == (4,) and command.dtype.kind == "i" and sorted(command) == [0, 0, 0, 1]
            assert type(frame["roadblock_ids"]) is list and frame["roadblock_ids"]
            assert all(type(block) is str for block in frame["roadblock_ids"])


def test_frames_are_half_a_second_apart_and_name_their_neighbours(navsim_logs):
    for log in navsim_logs.values():
        assert len(log) == 24 and {b["timestamp"] - a["timestamp"] for a, b in pairwise(log)} == {500_000}
        assert [frame["sample_next"] for frame in log] == [*(frame["token"] for frame in log[1:]), None]
        assert [frame["sample_prev"] for frame in log] == [None, *(frame["token"] for frame in log[:-1])]
    tokens = [frame["token"] for log in navsim_logs.values() for frame in log]
    assert len(set(tokens)) == len(tokens)


def test_old_numpy_can_open_the_logs(navsim_orders):
    # numpy 1 has no module numpy._core, and Python 3.9 no pickle protocol beyond 5.
    for order in navsim_orders.values():
        opcodes = [(code.name, value) for code, value, _ in pickletools.genops(order.files.log.read_bytes())]
        assert dict(opcodes)["PROTO"] <= 5
        words = {value for _, value in opcodes if isinstance(value, str)}
        assert "numpy" in words and not any(word.startswith("numpy._core") for word in words)


def test_rotation_matrices_and_quaternions_agree(navsim_logs):
    for log in navsim_logs.values():
        for frame, (x, y, heading) in zip(log, ego_poses(log)):
            assert np.linalg.norm(frame["ego2global_rotation"]) == pytest.approx(1.0, abs=1e-12)
            assert not frame["ego2global_rotation"][1:3].any()
            expected = np.eye(4)
            expected[:2, :2] = [[np.cos(heading), -np.sin(heading)], [np.sin(heading), np.cos(heading)]]
            expected[:2, 3] = x, y
            np.testing.assert_allclose(frame["ego2global"], expected, atol=1e-9)
            np.testing.assert_allclose(frame["ego2global"] @ frame["lidar2ego"], frame["lidar2global"], atol=1e-9)
            np.testing.assert_allclose(frame["can_bus"][:7], [x, y, 0, *frame["ego2global_rotation"]])


def test_the_ego_moves_along_its_heading_with_its_recorded_speed(navsim_logs):
    for log in navsim_logs.values():
        ego, state = ego_poses(log), np.array([frame["ego_dynamic_state"] for frame in log])
        step = np.diff(ego[:, :2], axis=0)
        length, moving = np.hypot(*step.T), np.hypot(*step.T) > 1.0
        middle = ego[:-1, 2] + wrap_angle(np.diff(ego[:, 2])) / 2
        assert np.abs(wrap_angle(np.arctan2(step[:, 1], step[:, 0]) - middle))[moving].max() < 0.05
        # The mean of the speeds at both ends is the mean speed, but for changes of the acceleration (up to 6 m/s^2).
        assert np.abs(length / 0.5 - (state[1:, 0] + state[:-1, 0]) / 2).max() < 0.4
        assert (state[:, 0] >= 0).all() and np.abs(state[:, 1]).max() < 0.5
        assert np.abs(state[:, 2]).max() < 4.05 and np.abs(state[:, 3]).max() < 4.9  # NAVSIM's bounds of comfort


def test_a_left_turn_has_the_command_left_and_a_right_turn_right(navsim_logs, navsim_orders):
    commands_at_turns = set()
    for name, log in navsim_logs.items():
        ego = ego_poses(log)
        commands = [int(np.argmax(frame["driving_command"])) for frame in log]
        for now, command in enumerate(commands):
            ahead = relative_pose(np.broadcast_to(ego[now], ego[now:].shape).copy(), ego[now:].copy())
            along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(ahead[:, :2], axis=0).T))])
            if along[-1] < 20.0:
                continue
            aside = np.interp(20.0, along, ahead[:, 1])
            if navsim_orders[name].road_type == "crossing" and abs(aside) > 5.0:
                assert command == (LEFT if aside > 0 else RIGHT), (name, now)
                commands_at_turns.add(command)
            # Elsewhere there is some tolerance, because an ego that changes lanes leaves the centre line.
            assert {command, int(np.sign(aside)) + 4} not in ({LEFT, 3}, {RIGHT, 5}) or abs(aside) < 4.0, (name, now)
    assert commands_at_turns == {LEFT, RIGHT}
    assert {int(np.argmax(frame["driving_command"])) for log in navsim_logs.values() for frame in log} >= {
        LEFT,
        STRAIGHT,
        RIGHT,
    }


def test_boxes_are_the_agents_in_the_ego_frame(navsim_logs, navsim_orders, navsim_drives):
    for name, log in navsim_logs.items():
        agents, place = navsim_drives[name].drive.agents, navsim_orders[name].place
        tracks = {token(place.key, "track", number): number for number in range(len(agents))}
        for row, (frame, ego) in enumerate(zip(log, ego_poses(log))):
            row, anns = 5 * row, frame["anns"]
            assert set(anns) == {"gt_boxes", "gt_names", "gt_velocity_3d", "instance_tokens", "track_tokens"}
            number = len(anns["gt_boxes"])
            assert anns["gt_boxes"].shape == (number, 7) and anns["gt_velocity_3d"].shape == (number, 3)
            assert anns["gt_names"].shape == (number,) and set(anns["gt_names"].tolist()) <= NAMES
            assert len(anns["instance_tokens"]) == len(anns["track_tokens"]) == len(set(anns["track_tokens"])) == number
            who = [tracks[track] for track in anns["track_tokens"]]
            true = compose(np.broadcast_to(place.pose, (number, 3)).copy(), agents.poses[row, who])
            poses, _ = global_boxes(frame, ego)
            np.testing.assert_allclose(poses[:, :2], true[:, :2], atol=1e-6)
            assert np.abs(wrap_angle(poses[:, 2] - true[:, 2])).max(initial=0) < 1e-9
            np.testing.assert_array_equal(anns["gt_boxes"][:, 3:6], agents.sizes[who])
            np.testing.assert_allclose(anns["gt_boxes"][:, 2], agents.sizes[who, 2] / 2)  # feet on the ground
            near = np.hypot(*(agents.poses[row, :, :2] - navsim_drives[name].drive.ego[row, :2]).T) < 80.0
            assert set(np.flatnonzero(near)) <= set(who)


def test_velocities_are_those_of_the_global_positions(navsim_logs):
    checked = 0
    for log in navsim_logs.values():
        ego = ego_poses(log)
        tracks: dict[str, dict[int, tuple]] = {}
        for row, frame in enumerate(log):
            poses, velocities = global_boxes(frame, ego[row])
            for track, pose, velocity in zip(frame["anns"]["track_tokens"], poses, velocities):
                tracks.setdefault(track, {})[row] = (pose, velocity)
        for rows in tracks.values():
            for row in rows:
                if row - 1 not in rows or row + 1 not in rows:
                    continue
                (before, v0), (_, v1), (after, v2) = rows[row - 1], rows[row], rows[row + 1]
                assert np.hypot(*(after - before)[:2] - v1) < 1.0  # within what braking and turning do in a second
                if max(np.hypot(*(v0 - v1)), np.hypot(*(v2 - v1))) < 0.02:
                    assert np.hypot(*((after - before)[:2] - v1)) < 0.05
                    checked += 1
    assert checked > 100


def test_the_ego_enters_no_connector_on_red_and_stops_before_one(navsim_logs, navsim_drives):
    stops = 0
    for name, log in navsim_logs.items():
        city_drive = navsim_drives[name]
        lit = {lane.id: lane for lane in city_drive.map.connectors if lane.has_light}
        shapes = [shapely.Polygon(outline) for outline in ego_corners(city_drive.drive.ego)]
        for number, frame in enumerate(log):
            assert dict(frame["traffic_lights"]) == {
                int(lane_id): bool(red[5 * number]) for lane_id, red in city_drive.reds.items()
            }
            assert {str(lane_id) for lane_id, _ in frame["traffic_lights"]} == set(lit)
        for lane_id in {lane.id for lane in lit.values() if lane.roadblock in city_drive.route}:
            connector, red = shapely.Polygon(lit[lane_id].rings[0]), city_drive.reds[lane_id]
            on = np.array([connector.intersects(shape) for shape in shapes])
            # An ego on the connector when it turns red may leave it, but it may not enter a red one.
            assert not (red[1:] & red[:-1] & on[1:] & ~on[:-1]).any(), name
            near = np.array([connector.distance(shape) < 8.0 for shape in shapes])
            stops += int((red & ~on & near & (city_drive.drive.ego_speed_mps < 0.3)).sum())
    assert stops > 0


def test_eight_calibrated_cameras_of_which_the_chosen_have_pictures(navsim_logs, navsim_orders):
    for name, log in navsim_logs.items():
        blobs = navsim_orders[name].files.blobs
        for frame in log:
            assert set(frame["cams"]) == CAMERAS
            for camera, view in frame["cams"].items():
                assert set(view) == {
                    "data_path",
                    "sensor2lidar_rotation",
                    "sensor2lidar_translation",
                    "cam_intrinsic",
                    "distortion",
                }
                rotation = view["sensor2lidar_rotation"]
                np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
                assert np.linalg.det(rotation) == pytest.approx(1.0)
                assert view["sensor2lidar_translation"].shape == (3,) and view["distortion"].shape == (5,)
                assert view["cam_intrinsic"].shape == (3, 3) and view["cam_intrinsic"][2].tolist() == [0, 0, 1]
                assert view["data_path"] == f"{name}/{camera}/{Path(view['data_path']).stem}.jpg"
                assert (blobs / view["data_path"]).is_file() == (camera in PICTURES)
            # F looks ahead, L to the left, R to the right and B backwards.
            ahead = {camera: view["sensor2lidar_rotation"][:, 2] for camera, view in frame["cams"].items()}
            assert ahead["CAM_F0"][0] > 0.9 and ahead["CAM_B0"][0] < -0.9
            assert all(ahead[f"CAM_L{n}"][1] > 0.5 and ahead[f"CAM_R{n}"][1] < -0.5 for n in range(3))
        with Image.open(blobs / log[0]["cams"]["CAM_F0"]["data_path"]) as picture:
            assert picture.format == "JPEG" and picture.mode == "RGB" and picture.size == (WIDTH, HEIGHT)


def test_an_annotated_box_is_where_the_picture_shows_it(navsim_world, navsim_logs, navsim_orders, navsim_drives):
    name = next(name for name, order in navsim_orders.items() if order.road_type == "crossing")
    city_drive, order, log = navsim_drives[name], navsim_orders[name], navsim_logs[name]
    spec = navsim_world.sensors.cameras["CAM_F0"]
    renderer, shown = Renderer(spec), 0
    stage = Stage(
        np.random.default_rng((*city_drive.drive.seed, 1)),
        city_drive,
        renderer,
        navsim_world.density,
        navsim_world.city.shoulder_m,
    )
    for number, frame in enumerate(log):
        view, anns, row = frame["cams"]["CAM_F0"], frame["anns"], 5 * number
        poses = stage.poses(row)
        whole = renderer.picture(city_drive.drive.ego[row], poses, spec).astype(int)
        stored = np.asarray(Image.open(order.files.blobs / view["data_path"])).astype(int)
        assert np.abs(whole - stored).mean() < 6.0  # JPEG loses that much
        for track, box in zip(anns["track_tokens"], anns["gt_boxes"]):
            outline = np.concatenate([corners(box[[0, 1, 6]], box[3:5])] * 2)
            outline = np.column_stack([outline, np.repeat([0.0, box[5]], 4)])
            in_camera = (outline - view["sensor2lidar_translation"]) @ view["sensor2lidar_rotation"]
            pixels = (in_camera / in_camera[:, 2:]) @ view["cam_intrinsic"].T
            low, high = pixels[:, :2].min(0), pixels[:, :2].max(0)
            if in_camera[:, 2].min() < 4.0 or (low < 0).any() or (high > [WIDTH - 1, HEIGHT - 1]).any():
                continue
            agent = next(k for k in range(len(city_drive.drive.agents)) if token(order.place.key, "track", k) == track)
            without = poses.copy()
            without[agent] = np.nan
            changed = (
                np.abs(renderer.picture(city_drive.drive.ego[row], without, spec).astype(int) - whole).sum(-1) > 30
            )
            v, u = np.nonzero(changed)
            if len(u) >= 4:
                extent = np.array([[u.min(), v.min()], [u.max(), v.max()]])
                # Mirrors, wheels and shadows reach a little beyond the box.
                assert (extent[0] > low - 3).all() and (extent[1] < high + 3).all(), (row, low, high, extent)
                shown += 1
    renderer.close()
    assert shown >= 3


def test_point_clouds_have_the_devkits_layout_and_lie_on_the_boxes(navsim_logs, navsim_orders):
    on_vehicles = 0
    for name, log in navsim_logs.items():
        for frame in log:
            path = navsim_orders[name].files.blobs / frame["lidar_path"]
            header, _, data = path.read_bytes().partition(b"DATA binary\n")
            lines = dict(line.split(" ", 1) for line in header.decode("ascii").splitlines() if line[0] != "#")
            assert lines["FIELDS"] == "x y z intensity ring lidar_info" and lines["COUNT"] == "1 1 1 1 1 1"
            assert lines["SIZE"] == "4 4 4 4 1 1" and lines["TYPE"] == "F F F F U U"
            assert lines["WIDTH"] == lines["POINTS"] and lines["HEIGHT"] == "1" and len(lines["VIEWPOINT"].split()) == 7
            assert len(data) == 18 * int(lines["POINTS"]) > 0
            points = read_pcd(path)
            assert np.isfinite(points).all() and points[3].min() >= 0 and points[3].max() <= 255
            assert points[4].max() < 8 and not points[5].any()
            for box, kind in zip(frame["anns"]["gt_boxes"], frame["anns"]["gt_names"]):
                if kind != "vehicle":
                    continue
                cos, sin = np.cos(box[6]), np.sin(box[6])
                inside = np.abs((points[:2].T - box[:2]) @ np.array([[cos, -sin], [sin, cos]])) - box[3:5] / 2
                deep = np.maximum(inside.max(1), np.maximum(points[2] - box[5], -points[2]))
                assert deep.min() > -0.15, name  # no return from inside a box; the noise is 0.02 m
                on_vehicles += int(((np.abs(deep) < 0.1) & (points[2] > 0.2)).sum())
    assert on_vehicles > 200
