"""Other road users and red lights while a scene is scored: the log, replayed at 10 Hz.

Specified in docs/pdms.md, section 4.

Frames count as exactly 0.5 s apart. Their time stamps are not used here, though history.py does use
them for the ego's past.
"""

import numpy as np
import shapely
from jaxtyping import Bool, Float64, Int64

from latentdrive.boxes import corners, ego_corners
from latentdrive.counting import counted
from latentdrive.errors import UnreadableScene
from latentdrive.pdms.map.index import MapIndex
from latentdrive.pdms.scene import AGENTS, STEP_S, STEPS, RedLights, Tracks
from latentdrive.pdms.versions import Rules
from latentdrive.types import LoggedFrame, SceneTruth

FRAME_STEPS, FRAME_S = 5, 0.5
# The order in which kinds are sorted within a frame: that of nuPlan's numbers.
KINDS = (*AGENTS, "traffic_cone", "barrier", "czone_sign", "generic_object")


def replay(truth: SceneTruth, rules: Rules) -> Tracks:
    """Other road users over `rules.track_steps` steps, as logged.

    Between two sightings a track moves evenly, also across gaps; before its first and after its
    last sighting it is absent. A track seen in a single frame stands there at every step, with the
    velocity of that sighting. Size, kind and velocity are those of the first sighting. In v2,
    tracks that touch the ego now are left out.

    Raises UnreadableScene if the log ends before the last frame that the rules read, because tracks
    would vanish and the score would rise, or if a frame names a track twice.
    """
    tracks = _resampled(_future(truth, rules), truth)
    return _picked(tracks, np.flatnonzero(~touching_now(truth, tracks))) if rules.generation == 2 else tracks


def touching_now(truth: SceneTruth, tracks: Tracks) -> Bool[np.ndarray, "N"]:
    """Whether each track is present now and its box touches the ego's."""
    ego = shapely.polygons(ego_corners(truth.frames[truth.now].ego_pose))
    return tracks.present[0] & shapely.intersects(shapely.polygons(corners(tracks.poses[0], tracks.sizes)), ego)


def red_lights(truth: SceneTruth, rules: Rules, index: MapIndex) -> RedLights:
    """Lane connectors of the logged route, before any correction, that are red at some step.

    None in v1, which has no such term.

    index: of the scene's map. A light holds for five steps from its frame on. Lights of connectors
    that the map lacks are ignored. Raises UnreadableScene if the log ends too early, as `replay`
    does.
    """
    rows: dict[str, int] = {}
    lit: list[set[str]] = []
    if rules.generation == 2:
        joints = [block for block in truth.route if block in index and index.is_connector(block)]
        on_route = {connector for joint in joints for connector in index.inside(joint)}
        for frame in _future(truth, rules):
            names = [name for name, is_red in frame.lights if is_red and name in on_route]
            rows |= {name: len(rows) + i for i, name in enumerate(dict.fromkeys(names)) if name not in rows}
            lit.append(set(names))
    red = [[name in lit[step // FRAME_STEPS] for name in rows] for step in range(STEPS)]
    return RedLights(
        connectors=tuple(rows),
        red=np.array(red, bool).reshape(STEPS, len(rows)),
        polygons=index.take(np.array([index.number[name] for name in rows], np.int64)),
    )


def _future(truth: SceneTruth, rules: Rules) -> tuple[LoggedFrame, ...]:
    """The frame of now and the later frames that the rules read."""
    frames = truth.frames[truth.now : truth.now + 1 + rules.future_frames]
    if len(frames) <= rules.future_frames:
        raise UnreadableScene(
            truth.drive,
            f"scene {truth.token} has {counted(len(frames) - 1, 'frame')} after now, but NAVSIM "
            f"v{rules.generation} reads {rules.future_frames} ({rules.future_frames * FRAME_S} s): use scenes with "
            "num_future_frames="
            f"{rules.future_frames} or more (data=scenarios: data.scenes.future_frames={rules.future_frames})",
        )
    return frames


def _resampled(frames: tuple[LoggedFrame, ...], truth: SceneTruth) -> Tracks:
    rows, first, sighted, values = _sightings(frames, truth)
    count, steps = len(rows), FRAME_STEPS * (len(frames) - 1) + 1
    step, number = np.arange(steps)[:, None], np.arange(count)
    before, after = _neighbours(sighted)
    # Where a frame has no sighting, the heading before it is repeated, which adds no turn when unwrapped.
    values[:, :, 2] = np.unwrap(values[before.clip(0), number, 2], axis=0)
    # At a frame's own time the interval before it is used, as in NAVSIM; the last bit may differ from the sighting's.
    frame = -(-step // FRAME_STEPS)
    low, high = before[(frame - 1).clip(0), number], after[frame, number]
    low = np.where(low < 0, high, low)
    present = (before[step // FRAME_STEPS, number] >= 0) & (high < len(frames))
    low, high = np.where(present, low, 0), np.where(present, high, 0)
    start, end = values[low, number, :3], values[high, number, :3]
    slope = (end - start) / np.where(high > low, (high - low) * FRAME_S, 1.0)[..., None]
    poses = slope * (step * STEP_S - low * FRAME_S)[..., None] * (high > low)[..., None] + start
    poses[..., 2] = np.arctan2(np.sin(poses[..., 2]), np.cos(poses[..., 2]))
    once = sighted.sum(0) == 1
    at = sighted.argmax(0)
    poses[:, once], present[:, once] = values[at, number, :3][once], True
    poses[~present] = 0.0
    tracks = Tracks(
        tokens=tuple(rows),
        names=tuple(name for name, _ in first),
        sizes=np.array([size for _, size in first], np.float64).reshape(-1, 2),
        poses=poses,
        present=present,
        first_velocity=values[at, number, 3:],
    )
    # Sorted by first step of presence (0 for a single sighting), then kind, then first sighting.
    kinds = np.array([KINDS.index(name) for name in tracks.names], np.int64)
    return _picked(tracks, np.lexsort((kinds, present.argmax(0))))


def _sightings(
    frames: tuple[LoggedFrame, ...], truth: SceneTruth
) -> tuple[
    dict[str, int],
    list[tuple[str, Float64[np.ndarray, "2"]]],
    Bool[np.ndarray, "F N"],
    Float64[np.ndarray, "F N 5"],
]:
    """All sightings of all tracks.

    Returns the row of each track, in order of first sighting; its kind and size then; in which
    frames it is seen; and its x, y, heading, vx and vy there.
    """
    rows: dict[str, int] = {}
    first, where = [], []
    for frame in frames:
        objects = frame.objects
        order = sorted(range(len(objects)), key=lambda i: KINDS.index(objects.names[i]))
        for i in order:
            if objects.tracks[i] not in rows:
                rows[objects.tracks[i]] = len(rows)
                first.append((objects.names[i], objects.sizes[i, :2]))
        where.append(np.array([rows[track] for track in objects.tracks], np.int64))
        if len(set(objects.tracks)) < len(objects):
            twice = next(track for track in objects.tracks if objects.tracks.count(track) > 1)
            raise UnreadableScene(truth.drive, f"frame {frame.token} of scene {truth.token} holds track {twice} twice")
    sighted, values = np.zeros((len(frames), len(rows)), bool), np.zeros((len(frames), len(rows), 5))
    for number, (frame, at) in enumerate(zip(frames, where)):
        moves = np.array([name in AGENTS for name in frame.objects.names], bool)[:, None]
        sighted[number, at] = True
        values[number, at, :3] = frame.objects.poses
        values[number, at, 3:] = np.where(moves, frame.objects.velocity, 0.0)
    return rows, first, sighted, values


def _neighbours(sighted: Bool[np.ndarray, "F N"]) -> tuple[Int64[np.ndarray, "F N"], Int64[np.ndarray, "F N"]]:
    """For every frame, the last frame up to it with a sighting (-1: none) and the first one from it on (F: none)."""
    frame = np.arange(len(sighted))[:, None]
    before = np.maximum.accumulate(np.where(sighted, frame, -1), axis=0)
    after = np.minimum.accumulate(np.where(sighted, frame, len(sighted))[::-1], axis=0)[::-1]
    return before, after


def _picked(tracks: Tracks, rows: Int64[np.ndarray, "_"]) -> Tracks:
    return Tracks(
        tokens=tuple(tracks.tokens[i] for i in rows),
        names=tuple(tracks.names[i] for i in rows),
        sizes=tracks.sizes[rows],
        poses=tracks.poses[:, rows],
        present=tracks.present[:, rows],
        first_velocity=tracks.first_velocity[rows],
    )
