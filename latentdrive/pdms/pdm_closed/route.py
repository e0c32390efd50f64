"""The logged route made drivable: it starts where the ego is, its roadblocks are linked, and it makes no loop (PDMS.md, section 9.2).

After map_index.py, before centreline.py. Logged routes miss blocks now and then; PDM-Closed and the score see the corrected one.
A block is a roadblock or a roadblock connector, by id.
"""

from collections import deque
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import shapely
from jaxtyping import Float64

from latentdrive.errors import MapError
from latentdrive.geometry import wrap_angle
from latentdrive.pdms.map.index import MapIndex

HALF_SIDE_M = 1.0  # of the square around the rear axle in which the ego's block is looked for
NEAR_M, ALIGNED = 3.0, np.pi / 4  # what a lane must lie within to count as the ego's
BACKWARD_DEPTH, FORWARD_DEPTH = 15, 30  # blocks in a chain, both ends counted
FIRST_BLOCKS = 3  # of the route, that may be joined by driving on
OVERLAP_M2 = 1.0


def correct_route(index: MapIndex, ego_pose: Float64[np.ndarray, "3"], route: Sequence[str]) -> tuple[str, ...]:
    """The blocks of the corrected route, each once.

    ego_pose: rear axle, global frame. route: blocks as logged. Raises MapError for an empty route, a block that the map lacks, and a
    map without roadblocks.
    """
    blocks = list(dict.fromkeys(route))
    if not blocks:
        raise MapError("the scene has no route (roadblock_ids is empty), so it can't be scored; leave it out")
    for block in blocks:
        if block not in index:
            raise MapError(
                f"route: roadblock {block} is not in map {index.map.name}; log and map do not belong together"
            )
    start, candidates = starting_block(index, ego_pose, blocks)
    if start not in blocks:
        blocks = _joined(index, start, candidates, blocks)
    return tuple(dict.fromkeys(_without_loop(index, _linked(index, blocks))))


def route_lane_ids(index: MapIndex, blocks: Sequence[str]) -> tuple[str, ...]:
    """Lanes and lane connectors inside the blocks, block by block. Raises MapError where there are none."""
    lanes = tuple(lane for block in blocks for lane in index.inside(block))
    if not lanes:
        raise MapError(f"map {index.map.name}: the route's roadblocks {', '.join(blocks)} have no lanes")
    return lanes


def starting_block(
    index: MapIndex, ego_pose: Float64[np.ndarray, "3"], route: Sequence[str]
) -> tuple[str, tuple[str, ...]]:
    """The block the ego stands in, and all that it may stand in as well as can be told.

    Blocks near the ego are tried: those with a lane that is near and points the ego's way come before others, and among them
    those of the route; the nearest lane decides. Raises MapError for a map without roadblocks.
    """
    near = _blocks_near(index, ego_pose)
    if not near:
        raise MapError(f"map {index.map.name} has no roadblocks, so no route can be followed")
    distances: list[float] = []
    fitting: list[tuple[float, str]] = []
    for block in near:
        errors = [_errors(index.baseline(lane), ego_pose) for lane in index.inside(block)]
        distances.append(min((away for away, _ in errors), default=np.inf))
        fitting += [(away, block) for away, turn in errors if turn < ALIGNED and away < NEAR_M]
    for group in ([one for one in fitting if one[1] in set(route)], fitting):
        if group:
            return min(group, key=lambda one: one[0])[1], tuple(dict.fromkeys(block for _, block in group))
    return near[int(np.argmin(distances))], tuple(near)


def heading_error(baseline: Float64[np.ndarray, "n 3"], ego_pose: Float64[np.ndarray, "3"]) -> float:
    """How far the ego is turned against the nearest vertex of a lane's baseline, radians, never negative."""
    return _errors(baseline, ego_pose)[1]


def _errors(baseline: Float64[np.ndarray, "n 3"], ego_pose: Float64[np.ndarray, "3"]) -> tuple[float, float]:
    """Distance to the nearest vertex of a baseline (metres), and the angle between there and the ego."""
    away = np.hypot(baseline[:, 0] - ego_pose[0], baseline[:, 1] - ego_pose[1])
    nearest = int(np.argmin(away))
    return float(away[nearest]), float(np.abs(wrap_angle(baseline[nearest, 2] - ego_pose[2])))


def _blocks_near(index: MapIndex, ego_pose: Float64[np.ndarray, "3"]) -> list[str]:
    x, y = ego_pose[:2].tolist()
    square = shapely.box(x - HALF_SIDE_M, y - HALF_SIDE_M, x + HALF_SIDE_M, y + HALF_SIDE_M)
    trees = [(index.trees["ROADBLOCK"], 0), (index.trees["ROADBLOCK_CONNECTOR"], len(index.map.roadblocks))]
    numbers = [number + first for tree, first in trees for number in np.sort(tree.query(square, "intersects")).tolist()]
    if not numbers:
        here = shapely.Point(x, y)
        numbers = [int(tree.query_nearest(here, all_matches=True).min()) + first for tree, first in trees if len(tree)]
    return [index.block_ids[number] for number in numbers]


def _joined(index: MapIndex, start: str, candidates: Sequence[str], blocks: list[str]) -> list[str]:
    """A route that the ego is not on, led to from where it is: back from the route's start, or else on from the ego."""
    back = _chain(index.incoming, blocks[0], candidates, BACKWARD_DEPTH)
    if back:
        return [*reversed(back[1:]), *blocks]
    on = _chain(index.outgoing, start, blocks[:FIRST_BLOCKS], FORWARD_DEPTH)
    return [*on, *blocks[blocks.index(on[-1]) + 1 :]] if on else blocks


def _linked(index: MapIndex, blocks: Sequence[str]) -> list[str]:
    """The route with missing blocks between unlinked neighbours filled in."""
    linked = list(blocks[:1])
    for before, after in pairwise(blocks):
        if before not in index.incoming(after):
            linked += _chain(index.outgoing, before, (after,), FORWARD_DEPTH)[1:-1]
        linked.append(after)
    return linked


def _without_loop(index: MapIndex, blocks: Sequence[str]) -> list[str]:
    """The route up to where it crosses itself."""
    crossed: list[shapely.Polygon] = []
    for place, block in enumerate(blocks):
        if not index.is_connector(block):
            continue
        polygon = index.block_polygons[index.blocks[block]]
        try:
            overlaps = shapely.area(shapely.intersection(polygon, np.array(crossed, object)))
        except shapely.errors.GEOSException as error:
            raise MapError(
                f"map {index.map.name}: roadblock connector {block} or one before it has a broken polygon"
            ) from error
        if (overlaps > OVERLAP_M2).any():
            return list(blocks[:place])
        crossed.append(polygon)
    return list(blocks)


def _chain(links: Callable[[str], Sequence[str]], start: str, goals: Sequence[str], depth: int) -> list[str]:
    """The shortest chain of blocks from start to the first goal met, both included; empty where none has `depth` blocks at most."""
    parents: dict[str, str | None] = {start: None}
    queue = deque([(start, 1)])
    while queue:
        block, place = queue.popleft()
        if block in goals:
            return _back_to_start(parents, block)
        if place == depth:
            continue
        for after in links(block):
            if after not in parents:
                parents[after] = block
                queue.append((after, place + 1))
    return []


def _back_to_start(parents: dict[str, str | None], end: str) -> list[str]:
    chain, block = [], end
    while block is not None:
        chain.append(block)
        block = parents[block]
    return chain[::-1]
