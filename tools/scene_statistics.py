"""What a made-up NAVSIM data set holds and how well its human drives: counts by split, and a digest
of all files.

    python tools/scene_statistics.py data/navsim_bench --json docs/results/navsim_world.json

Reads the data as any NAVSIM data, through data/navsim/scene_source.py. Takes a minute for
world=bench, two with the digest.
"""

import argparse
import hashlib
import json
from collections import Counter
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import shapely
from records import write_record

from latentdrive.boxes import corners, ego_centre, ego_corners
from latentdrive.build import build
from latentdrive.config import compose
from latentdrive.counting import counted
from latentdrive.planners.sampling import NO_SENSORS
from latentdrive.run_folder import progress
from latentdrive.types import Command, LoggedFrame, RoadMap, SceneTruth
from latentdrive.world.navsim.city_drive import on_the_road
from latentdrive.world.traffic.recording import Body

AHEAD_S = (0.0, 0.3, 0.6, 0.9)  # how far time to collision looks ahead
HORIZON = 8  # frames after now
FRAME_S = 0.5
OFF_ARC_M = 2.0  # more than half a lane: the road bends differently from the ego's present path
REACH_M = 20.0  # boxes whose centres are farther apart do not overlap
BACK_M = 0.5  # driven in the last frame; if it is less, the ego has no curvature


def main() -> None:
    """Print the counts, and write them if --json is given."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--no-digest", action="store_true", help="do not read every byte")
    arguments = parser.parse_args()
    data = build(compose("doctor", ["data=navsim", f"data.path={arguments.folder}"]).data)
    statistics = {}
    for split in data.splits():
        source = data.open_scenes(split=split, needs=NO_SENSORS, progress=progress)
        counts, sums = Counter(), Counter()
        cards: dict[str, dict] = {}
        maps: dict[str, RoadMap] = {}  # by drive: what lies around it
        for token in progress(source.tokens, what=split):
            truth = source.truth(token)
            if truth.drive not in cards:
                path = arguments.folder / "drives" / f"{truth.drive}.json"
                cards[truth.drive] = json.loads(path.read_text(encoding="utf-8"))
                maps[truth.drive] = near(truth)
            card = cards[truth.drive]
            counts[f"kind {card['road_type']} {card['hazard']}"] += 1
            count(truth, maps[truth.drive], card["limit_mps"], counts, sums)
        statistics[split] = {
            "scenes": len(source.tokens),
            "drives": len({source.drive(token) for token in source.tokens}),
            **dict(sorted(counts.items())),
            **{name: round(total / len(source.tokens), 3) for name, total in sums.items()},
        }
        print(split, json.dumps(statistics[split], indent=1))
    if not arguments.no_digest:
        files, size, sha256 = digest(arguments.folder)
        statistics |= {"files": files, "bytes": size, "digest": sha256}
        print(f"{counted(files, 'file')}, {counted(size, 'byte')}, sha256 over names and contents {sha256}")
    if arguments.json:
        write_record(arguments.json, **statistics)


def count(truth: SceneTruth, around: RoadMap, limit_mps: float, counts: Counter, sums: Counter) -> None:
    """Count the facts of one scene.

    These are: command, contact, time to collision, road, lights, whether the ego needs cameras, and
    how the human drives.
    """
    now, future = truth.frames[truth.now], truth.frames[truth.now : truth.now + HORIZON + 1]
    counts[f"command {now.command.name.lower()}"] += 1
    counts["human touches somebody"] += any(touches(frame, 0.0) for frame in future)
    counts["human would touch somebody within 0.9 s"] += any(
        touches(frame, ahead) for frame in future for ahead in AHEAD_S
    )
    ego = np.stack([frame.ego_pose for frame in future])
    counts["human leaves the road"] += not on_the_road(ego, Body.of_nuplan(), around).all()
    counts["before a red light"] += any(red for _, red in now.lights)
    road, somebody = bends(truth), in_the_way(truth)
    commanded = now.command is not Command.STRAIGHT  # the command announces a turn, but not where
    counts["needs eyes: the road bends otherwise than the ego"] += road
    counts["needs eyes: the road bends otherwise than the ego, and the command is straight"] += road and not commanded
    counts["needs eyes: somebody stands or drives where the ego would be at its present speed"] += somebody
    counts["needs eyes"] += road or somebody
    counts["needs eyes, and the command is straight where the road bends"] += (road and not commanded) or somebody
    driven = np.hypot(*np.diff(ego[:, :2], axis=0).T).sum()
    sums["mean speed, m/s"] += float(now.velocity[0])
    sums["mean share of the speed limit over 4 s"] += driven / (0.5 * HORIZON) / limit_mps
    sums["objects a scene"] += len(now.objects)


def bends(truth: SceneTruth) -> bool:
    """Whether the human ends off the arc of the ego's present curvature, however far the human drives."""
    back, here = (truth.frames[number].ego_pose for number in (truth.now - 1, truth.now))
    end = truth.frames[truth.now + HORIZON].ego_pose
    driven = np.hypot(*(here - back)[:2])
    turned = (here[2] - back[2] + np.pi) % (2 * np.pi) - np.pi
    curvature = turned / driven if driven > BACK_M else 0.0
    along = np.arange(0.0, np.hypot(*(end - here)[:2]) + 10.0, 0.1)
    headings = here[2] + curvature * along
    arc = here[:2] + np.cumsum(0.1 * np.stack([np.cos(headings), np.sin(headings)], 1), 0)
    return bool(np.hypot(*(arc - end[:2]).T).min() > OFF_ARC_M)


def in_the_way(truth: SceneTruth) -> bool:
    """Whether the ego would hit somebody in front of it on the human's path at its present speed."""
    future = truth.frames[truth.now : truth.now + HORIZON + 1]
    path = np.stack([frame.ego_pose[:2] for frame in truth.frames[truth.now :]])
    headings = np.unwrap([frame.ego_pose[2] for frame in truth.frames[truth.now :]])
    ahead = np.array([np.cos(headings[-1]), np.sin(headings[-1])])
    path, headings = np.vstack([path, path[-1] + 200.0 * ahead]), np.append(headings, headings[-1])
    driven = np.append(0.0, np.cumsum(np.hypot(*np.diff(path, axis=0).T)))
    speed = max(float(future[0].velocity[0]), 0.0)
    for number, frame in enumerate(future[1:], 1):
        x, y, heading = (np.interp(speed * FRAME_S * number, driven, values) for values in (*path.T, headings))
        ego = np.array([x, y, heading])
        in_front = [
            np.dot(pose[:2] - ego[:2], (np.cos(heading), np.sin(heading))) > 0.0 for pose in frame.objects.poses
        ]
        if any(
            hits(ego, pose, size)
            for pose, size, ahead in zip(frame.objects.poses, frame.objects.sizes, in_front)
            if ahead
        ):
            return True
    return False


def hits(rear_axle: np.ndarray, pose: np.ndarray, size: np.ndarray) -> bool:
    """Whether the ego's box at this pose overlaps another box."""
    if np.hypot(*(pose[:2] - ego_centre(rear_axle)[:2])) > REACH_M:
        return False
    return shapely.Polygon(ego_corners(rear_axle)).intersects(shapely.Polygon(corners(pose, size[:2])))


def touches(frame: LoggedFrame, ahead_s: float) -> bool:
    """Whether the ego's box overlaps another one after both have moved for ahead_s seconds at their velocities."""
    x, y, heading = frame.ego_pose
    reach = float(frame.velocity[0]) * ahead_s
    moved = np.array([x + reach * np.cos(heading), y + reach * np.sin(heading), heading])
    return any(
        hits(moved, pose + np.array([*(velocity * ahead_s), 0.0]), size)
        for pose, size, velocity in zip(frame.objects.poses, frame.objects.sizes, frame.objects.velocity)
    )


def near(truth: SceneTruth) -> RoadMap:
    """The map around a drive. The maps of other drives lie farther away."""
    here = truth.frames[truth.now].ego_pose[:2]
    kinds = [field.name for field in fields(truth.map) if field.name != "name"]
    return replace(
        truth.map,
        **{
            kind: tuple(item for item in getattr(truth.map, kind) if np.abs(item.rings[0] - here).min(0).max() < 900.0)
            for kind in kinds
        },
    )


def digest(folder: Path) -> tuple[int, int, str]:
    """The number of files, their bytes, and a hash over their names and contents in order."""
    total, whole, files = 0, hashlib.sha256(), sorted(path for path in folder.rglob("*") if path.is_file())
    for path in progress(files, what="digest"):
        content = path.read_bytes()
        total += len(content)
        whole.update(path.relative_to(folder).as_posix().encode() + hashlib.sha256(content).digest())
    return len(files), total, whole.hexdigest()


if __name__ == "__main__":
    main()
