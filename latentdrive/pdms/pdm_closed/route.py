"""Route correction: the logged route starts where the ego is, has no gaps, and makes no loop.

Logged routes miss blocks now and then. PDM-Closed and the score use the corrected route. A block is
a roadblock or a roadblock connector, given by its id. Specified in docs/pdms.md, section 9.2.
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

HALF_SIDE_M = 1.0  # half the side of the square around the rear axle in which the ego's block is searched
NEAR_M, ALIGNED = 3.0, np.pi / 4  # bounds within which a lane qualifies as the ego's
BACKWARD_DEPTH, FORWARD_DEPTH = 15, 30  # blocks in a chain, both ends included
FIRST_BLOCKS = 3  # this many first blocks of the route are the goals of the forward search
OVERLAP_M2 = 1.0  # connectors that overlap by more form a loop


def correct_route(index: MapIndex, ego_pose: Float64[np.ndarray, "3"], route: Sequence[str]) -> tuple[str, ...]:
    """The blocks of the corrected route, each once.

    ego_pose: rear axle, global frame. route: blocks as logged. Raises MapError for an empty route,
    for a block that the map lacks, and for a map without roadblocks.
    """
    blocks = list(dict.fromkeys(route))
    if not blocks:
        raise MapError("the scene has no route (roadblock_ids is empty), so it can't be scored: leave it out")
    for block in blocks:
        if block not in index:
            raise MapError(
                f"route: roadblock {block} is not in map {index.map.name}: log and map do not belong together"
            )
    start, candidates = starting_block(index, ego_pose, blocks)
    if start not in blocks:
        blocks = _joined(index, start, candidates, blocks)
    return tuple(dict.fromkeys(_without_loop(index, _linked(index, blocks))))


def route_lane_ids(index: MapIndex, blocks: Sequence[str]) -> tuple[str, ...]:
    """Lanes and lane connectors inside the blocks, block by block. Raises MapError if there are none."""
    lanes = tuple(lane for block in blocks for lane in index.inside(block))
    if not lanes:
        raise MapError(f"map {index.map.name}: the route's roadblocks {', '.join(blocks)} have no lanes")
    return lanes


def starting_block(
    index: MapIndex, ego_pose: Float64[np.ndarray, "3"], route: Sequence[str]
) -> tuple[str, tuple[str, ...]]:
    """The ego's block, and all candidates that qualify for it equally.

    A lane qualifies if it is near and points the ego's way. The nearest qualifying lane of a block
    on the route decides, or else the nearest qualifying lane of any block, or else the nearest
    lane. The candidates are the blocks of the group that decided. Raises MapError for a map without
    roadblocks.
    """
    near = _blocks_near(index, ego_pose)
    if not near:
        raise MapError(f"map {index.map.name} has no roadblocks, so no route can be followed")
    distances: list[float] = []
    qualifying: list[tuple[float, str]] = []
    for block in near:
        errors = [_errors(index.baseline(lane), ego_pose) for lane in index.inside(block)]
        distances.append(min((away for away, _ in errors), default=np.inf))
        qualifying += [(away, block) for away, turn in errors if turn < ALIGNED and away < NEAR_M]
    on_route = [(away, block) for away, block in qualifying if block in set(route)]
    for group in (on_route, qualifying):
        if group:
            return min(group, key=lambda lane: lane[0])[1], tuple(dict.fromkeys(block for _, block in group))
    return near[int(np.argmin(distances))], tuple(near)


def heading_error(baseline: Float64[np.ndarray, "n 3"], ego_pose: Float64[np.ndarray, "3"]) -> float:
    """Angle between the ego and the nearest vertex of a lane's baseline, radians, never negative."""
    return _errors(baseline, ego_pose)[1]


def _errors(baseline: Float64[np.ndarray, "n 3"], ego_pose: Float64[np.ndarray, "3"]) -> tuple[float, float]:
    """Distance to the nearest vertex of a baseline, metres, and the angle between the ego and that vertex."""
    away = np.hypot(baseline[:, 0] - ego_pose[0], baseline[:, 1] - ego_pose[1])
    nearest = int(np.argmin(away))
    return float(away[nearest]), float(np.abs(wrap_angle(baseline[nearest, 2] - ego_pose[2])))


def _blocks_near(index: MapIndex, ego_pose: Float64[np.ndarray, "3"]) -> list[str]:
    """Blocks that meet a square around the rear axle, roadblocks first.

    If there are none, the nearest roadblock and the nearest connector.
    """
    x, y = ego_pose[:2].tolist()
    square = shapely.box(x - HALF_SIDE_M, y - HALF_SIDE_M, x + HALF_SIDE_M, y + HALF_SIDE_M)
    trees = [(index.trees["ROADBLOCK"], 0), (index.trees["ROADBLOCK_CONNECTOR"], len(index.map.roadblocks))]
    numbers = [number + first for tree, first in trees for number in np.sort(tree.query(square, "intersects")).tolist()]
    if not numbers:
        here = shapely.Point(x, y)
        numbers = [int(tree.query_nearest(here, all_matches=True).min()) + first for tree, first in trees if len(tree)]
    return [index.block_ids[number] for number in numbers]


def _joined(index: MapIndex, start: str, candidates: Sequence[str], blocks: list[str]) -> list[str]:
    """A route that the ego is not on, extended to where it is.

    The extension leads backwards from the start of the route, or else forwards from the ego. If
    neither is found, the route stays.
    """
    backward = _chain(index.incoming, blocks[0], candidates, BACKWARD_DEPTH)
    if backward:
        return [*reversed(backward[1:]), *blocks]
    forward = _chain(index.outgoing, start, blocks[:FIRST_BLOCKS], FORWARD_DEPTH)
    return [*forward, *blocks[blocks.index(forward[-1]) + 1 :]] if forward else blocks


def _linked(index: MapIndex, blocks: Sequence[str]) -> list[str]:
    """The route with the missing blocks between unlinked neighbours inserted."""
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
    """The shortest chain of blocks from `start` to the first goal that is reached, both included.

    It is empty if no chain of at most `depth` blocks leads there.
    """
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
