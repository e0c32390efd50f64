"""A NAVSIM folder with one scene that can be scored: a straight street, and a car that stands in the way."""

from pathlib import Path

import numpy as np

from tests.support.map_file import FILE_VERSION, ORIGIN, PLACE, box, line, small_map, write_index, write_map_file
from tests.support.navsim_fixture import frames, token, write_log, write_split


def street(root: Path, unknown: float | None = None, *, place: float | None = None, count: int = 14) -> Path:
    """An ego at 5 m/s on a long street, 12 m behind a standing car, through which the human drives.

    unknown: the car's velocity. place: its x, once. count: frames.
    """
    layers = small_map()
    for name in ("lanes_polygons", "lane_groups_polygons"):
        shapes = layers[name]["geometry"]
        far = [box(9000 + 10 * k, 0, 9009 + 10 * k, 9) for k in range(1, len(shapes))]
        layers[name]["geometry"] = [box(0, -2, 120, 2), *far]
    layers["baseline_paths"]["geometry"][1] = line(*((x, 0) for x in np.linspace(0, 120, 25)))
    write_index(root / "maps")
    write_map_file(root / "maps" / PLACE / FILE_VERSION / "map.gpkg", layers)
    content = frames("north", count)
    for k, entry in enumerate(content):
        boxes = np.array([[19.5 - 2.5 * k, 0.0, 0.8, 4.5, 1.9, 1.6, 0.0]])
        velocity = np.zeros((1, 3)) if unknown is None else np.full((1, 3), unknown)
        if place is not None and k == 6:
            boxes[0, 0] = place
        entry |= {
            "roadblock_ids": ["201"],
            "traffic_lights": [],
            "ego2global_translation": np.array([ORIGIN[0] + 2.5 * k, ORIGIN[1], 0.5]),
            "ego2global_rotation": np.array([1.0, 0.0, 0.0, 0.0]),
            "ego_dynamic_state": [5.0, 0.0, 0.0, 0.0],
            "anns": {
                "gt_boxes": boxes,
                "gt_names": np.array(["vehicle"]),
                "gt_velocity_3d": velocity,
                "instance_tokens": ["i"],
                "track_tokens": ["car"],
            },
        }
    write_log(root, "north", content)
    write_split(root / "splits", "test", tokens=[token("north", 3)])
    return root
