"""A scored scene from above: where the car went in simulation, what it was planned to do, what others did, and what it was marked down for.

In the view of drawing/plans.py, and its colours; drawn from a prepared scene and a row of an evaluation's results. The car of now looks
up. Other road users stand where they were at the decisive step: that of the dearest thing that went wrong, or the last one.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from jaxtyping import Bool, Float64, UInt8
from PIL import Image, ImageDraw, ImageFont

from latentdrive.drawing.plans import (
    EGO,
    FINER,
    HUMAN,
    LANE,
    RED,
    BirdView,
    absolute,
    car_corners,
    draw_areas,
    draw_tracks,
    few,
    rings_of,
)
from latentdrive.evaluation.results import Results
from latentdrive.nuplan_vehicle import CORNERS
from latentdrive.pdms.scene import DRIVABLE, LAYERS, STEP_S, STEPS, Areas, Polygons, ScoringScene
from latentdrive.types import FROZEN, Trajectory

SIDE, BAND, LINE = 720, 26, 18  # pixels: the view, the title, each line of text below it
PLANNED, REFERENCE, SIMULATED = (255, 130, 40), (120, 220, 255), EGO
GHOSTS = range(0, STEPS, 10)  # steps at which the simulated car is outlined


@dataclass(**FROZEN)
class Reason:
    """Why the score is below 1, in words. step: when, None where it is of the whole drive."""

    text: str
    step: int | None = None


def score_picture(
    scene: ScoringScene, results: Results, row: int, *, states: Float64[np.ndarray, "41 11"] | None, planned: Trajectory | None,
    human: Trajectory | None,
) -> UInt8[np.ndarray, "H W 3"]:  # fmt: skip
    """The picture of one row of the results. states: simulated, None for a scene that failed; planned, human: poses [P, 3]."""
    told = reasons(scene, results, row, states)
    steps = [reason.step for reason in told if reason.step is not None]
    decisive = steps[0] if steps else STEPS - 1
    paths = {
        "PDM-Closed": (REFERENCE, scene.reference[:STEPS, :2]),
        "human": (HUMAN, _absolute(scene, human)),
        "planned": (PLANNED, _absolute(scene, planned)),
        "simulated": (SIMULATED, np.zeros((0, 2)) if states is None else states[:, :2]),
    }
    view = BirdView(scene.ego[:3], [points for _, points in paths.values()], side=SIDE)
    draw_areas(view, scene)
    draw_tracks(view, scene, decisive, hit=results.collision_track[row])
    for colour, points in paths.values():
        view.line(points, colour, 3)
    view.dots(few(paths["planned"][1][1:]), PLANNED)
    if states is not None:
        for step in GHOSTS:
            view.polygon(car_corners(states[step, :3]), outline=SIMULATED, width=1)
        view.polygon(car_corners(states[decisive, :3]), outline=RED if steps else SIMULATED, width=3)
    _mark(view, scene, decisive, hit=results.collision_track[row])
    shown = {name: colour for name, (colour, points) in paths.items() if len(points)}
    title = f"{results.tokens[row]}  {results.version}  score {results.score[row]:.3f}"
    return _sheet(view.image(), title, shown, told, decisive)


def reasons(
    scene: ScoringScene, results: Results, row: int, states: Float64[np.ndarray, "41 11"] | None
) -> list[Reason]:
    """What the score was lost by, dearest first; one that says so where nothing was."""
    token = results.tokens[row]
    if states is None or not results.valid[row]:
        return [Reason(text=f"failed: {results.failures.get(token, 'no reason was noted')}")]
    term = {name: float(values[row]) for name, values in results.terms.items()}
    found = [one for said in _SAID for one in said(scene, results, row, states, term)]
    found = found or [Reason(text="nothing lost")]
    return [*found, *_forgiven(scene, results, row, states, term)]


# ---- why ----

_Said = Callable[[ScoringScene, Results, int, np.ndarray, dict[str, float]], Iterator[Reason]]


def _collision(
    scene: ScoringScene, results: Results, row: int, _: np.ndarray, term: dict[str, float]
) -> Iterator[Reason]:
    if term["no_at_fault_collisions"] < 1:
        step, hit = int(results.collision_step[row]), results.collision_track[row]
        name = dict(zip(scene.tracks.tokens, scene.tracks.names)).get(hit, "object")
        yield Reason(text=f"at-fault collision with {name} {hit} at {_s(step)}", step=step)


def _off_road(scene: ScoringScene, _: Results, __: int, states: np.ndarray, term: dict[str, float]) -> Iterator[Reason]:
    if term["drivable_area_compliance"] < 1:
        step = _first(off_the_drivable_area(scene.areas, states))
        yield Reason(text="left the drivable area" + ("" if step is None else f" at {_s(step)}"), step=step)


def _red_light(
    scene: ScoringScene, _: Results, __: int, states: np.ndarray, term: dict[str, float]
) -> Iterator[Reason]:
    if term.get("traffic_light_compliance", 1.0) < 1:
        lights = _shapes(scene.lights.polygons)
        touched = np.array(
            [[light.intersects(shapely.Polygon(car_corners(state[:3]))) for light in lights] for state in states]
        )
        step = _first((touched & scene.lights.red[: len(states)]).any(-1)) if len(lights) else None
        yield Reason(text="drove into a red light" + ("" if step is None else f" at {_s(step)}"), step=step)


def _too_close(_: ScoringScene, results: Results, row: int, __: np.ndarray, term: dict[str, float]) -> Iterator[Reason]:
    if term["time_to_collision_within_bound"] < 1:
        step = int(results.ttc_step[row])
        yield Reason(text=f"time to collision below 1 s at {_s(step)}", step=step if step >= 0 else None)


def _rest(_: ScoringScene, results: Results, row: int, __: np.ndarray, term: dict[str, float]) -> Iterator[Reason]:
    for name, text in (
        ("driving_direction_compliance", "drove against the traffic"),
        ("lane_keeping", "more than 0.5 m off the centre line for 2 s"),
        ("comfort", "uncomfortable"),
        ("history_comfort", "uncomfortable, with the way it came"),
        ("two_frame_extended_comfort", "changed its mind since the scene before"),
    ):
        if term.get(name, 1.0) < 1:
            yield Reason(text=text)
    if term["ego_progress"] < 1:
        against = f"{results.progress_m[row]:.1f} m, PDM-Closed {results.reference_progress_m[row]:.1f} m"
        yield Reason(text=f"progress {term['ego_progress']:.2f} ({against})")


def _forgiven(
    scene: ScoringScene, _: Results, __: int, ___: np.ndarray, term: dict[str, float]
) -> Iterator[Reason]:  # fmt: skip
    """The human filter of v2: without it a picture of a car beside the road would say that nothing was lost."""
    if scene.human_terms is not None:
        names = [name.replace("_", " ") for name, value in zip(term, scene.human_terms) if value == 0]
        if names:
            yield Reason(text=f"not counted, as the human driver fails it too: {', '.join(names)}")


_SAID: tuple[_Said, ...] = (_collision, _off_road, _red_light, _too_close, _rest)


def off_the_drivable_area(areas: Areas, states: Float64[np.ndarray, "T 11"]) -> Bool[np.ndarray, "T"]:
    """At which steps a corner of the car lies in no drivable area (strictly inside, as the score has it)."""
    drivable = [
        shape for shape, layer in zip(_shapes(areas.polygons), areas.layers) if LAYERS[int(layer)] in DRIVABLE
    ]  # fmt: skip
    corners = np.concatenate([car_corners(state[:3]) for state in states])
    inside = np.zeros(len(corners), bool)
    for shape in drivable:
        inside |= shapely.contains_xy(shape, corners)
    return ~inside.reshape(-1, len(CORNERS)).all(-1)


def _first(flags: Bool[np.ndarray, "T"]) -> int | None:
    found = np.flatnonzero(flags)
    return int(found[0]) if len(found) else None


def _s(step: int) -> str:
    return f"{step * STEP_S:.1f} s"


# ---- drawing ----


def _mark(view: BirdView, scene: ScoringScene, step: int, *, hit: str) -> None:
    """A ring around who was hit: cones and pedestrians are small, and lie below the car's outline."""
    if hit in scene.tracks.tokens and scene.tracks.present[step, scene.tracks.tokens.index(hit)]:
        ((x, y),) = view.pixels(scene.tracks.poses[step, [scene.tracks.tokens.index(hit)], :2])
        view.ring(x, y, 16, outline=RED, width=2 * FINER)


def _sheet(
    view: Image.Image, title: str, shown: dict[str, tuple[int, int, int]], told: Sequence[Reason], decisive: int
) -> UInt8[np.ndarray, "H W 3"]:  # fmt: skip
    """Title, view, and below it the legend and the reasons."""
    sheet = Image.new("RGB", (SIDE, BAND + SIDE + LINE * (len(told) + 1) + 8))
    sheet.paste(view, (0, BAND))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=13)
    draw.text((6, 5), title, fill=EGO, font=font)
    x, y = 6, BAND + SIDE + 4
    for name, colour in shown.items():
        draw.line((x, y + 8, x + 18, y + 8), fill=colour, width=3)
        draw.text((x + 23, y), name, fill=EGO, font=font)
        x += 38 + int(draw.textlength(name, font=font))
    draw.text((x, y), f"others at {_s(decisive)}", fill=LANE, font=font)
    for number, reason in enumerate(told, 1):
        colour = RED if reason.step is not None and reason.step == decisive else EGO
        draw.text((6, y + LINE * number), reason.text, fill=colour, font=font)
    return np.asarray(sheet)


def _absolute(scene: ScoringScene, trajectory: Trajectory | None) -> Float64[np.ndarray, "n 2"]:
    """Now and the poses of a trajectory, in global coordinates; nothing where there is none."""
    if trajectory is None or not len(trajectory.poses):
        return np.zeros((0, 2))
    return absolute(scene, trajectory.poses)


def _shapes(polygons: Polygons) -> list[shapely.Polygon]:
    return [shapely.Polygon(rings[0], rings[1:]) for rings in rings_of(polygons)]
