"""Why a scene scores below 1: a note for each sub-score that was lost, with its moment where it has
one."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import shapely
from jaxtyping import Bool, Float64

from latentdrive.boxes import CORNERS, ego_corners
from latentdrive.drawing.bird_view import rings_of
from latentdrive.drawing.scored_scene import Note
from latentdrive.evaluation.results import Results
from latentdrive.pdms.scene import DRIVABLE, LAYERS, STEP_S, Areas, Polygons, ScoringScene
from latentdrive.pdms.score import DAC, DDC, EC, EP, HC, LK, NC, TLC, TTC, C
from latentdrive.types import FROZEN

WITHOUT_A_MOMENT = {
    DDC: "drove against the traffic",
    LK: "more than 0.5 m off the centre line for 2 s",
    C: "uncomfortable",
    HC: "uncomfortable together with the way it came",
    EC: "changed its plan since the previous scene",
}


@dataclass(**FROZEN)
class _ScoredScene:
    """One row of the results, and what explains it. terms: sub-scores by name. states: simulated,
    global frame."""

    scene: ScoringScene
    results: Results
    row: int
    states: Float64[np.ndarray, "41 11"]

    @property
    def terms(self) -> dict[str, float]:
        return {name: float(values[self.row]) for name, values in self.results.terms.items()}


def score_losses(
    scene: ScoringScene, results: Results, row: int, states: Float64[np.ndarray, "41 11"] | None
) -> list[Note]:
    """What cost the score of one row, the most expensive first; one note that says so if nothing
    was lost.

    states: simulated; None for a scene that failed.
    """
    token = results.tokens[row]
    if states is None or not results.valid[row]:
        return [Note(text=f"failed: {results.failures.get(token, 'no reason was recorded')}")]
    scored = _ScoredScene(scene=scene, results=results, row=row, states=states)
    losses = [note for explain in _EXPLANATIONS for note in explain(scored)]
    return [*(losses or [Note(text="nothing lost")]), *_forgiven(scored)]


def _collision(scored: _ScoredScene) -> Iterator[Note]:
    if scored.terms[NC] < 1:
        step, hit = int(scored.results.collision_step[scored.row]), scored.results.collision_track[scored.row]
        tracks = scored.scene.tracks
        name = dict(zip(tracks.tokens, tracks.names)).get(hit, "object")
        yield Note(text=f"at-fault collision with {name} {hit} at {_seconds(step)}", step=step)


def _off_road(scored: _ScoredScene) -> Iterator[Note]:
    if scored.terms[DAC] < 1:
        step = _first(off_the_drivable_area(scored.scene.areas, scored.states))
        yield Note(text="left the drivable area" + _at(step), step=step)


def _red_light(scored: _ScoredScene) -> Iterator[Note]:
    if scored.terms.get(TLC, 1.0) < 1:
        lights, states = scored.scene.lights, scored.states
        shapes = _shapes(lights.polygons)
        touched = np.array(
            [[shape.intersects(shapely.Polygon(ego_corners(state[:3]))) for shape in shapes] for state in states]
        )
        step = _first((touched & lights.red[: len(states)]).any(-1)) if len(shapes) else None
        yield Note(text="drove into a red light" + _at(step), step=step)


def _too_close(scored: _ScoredScene) -> Iterator[Note]:
    if scored.terms[TTC] < 1:
        step = int(scored.results.ttc_step[scored.row])
        yield Note(text=f"time to collision below 1 s at {_seconds(step)}", step=step if step >= 0 else None)


def _without_a_moment(scored: _ScoredScene) -> Iterator[Note]:
    terms, results, row = scored.terms, scored.results, scored.row
    for name, text in WITHOUT_A_MOMENT.items():
        if terms.get(name, 1.0) < 1:
            yield Note(text=text)
    if terms[EP] < 1:
        metres = f"{results.progress_m[row]:.1f} m, PDM-Closed {results.reference_progress_m[row]:.1f} m"
        yield Note(text=f"progress {terms[EP]:.2f} ({metres})")


def _forgiven(scored: _ScoredScene) -> Iterator[Note]:
    """What the human filter of v2 does not count. Without this note, a car beside the road would
    have lost nothing."""
    if scored.scene.human_terms is not None:
        names = [name.replace("_", " ") for name, value in zip(scored.terms, scored.scene.human_terms) if value == 0]
        if names:
            yield Note(text=f"not counted, as the human driver fails it too: {', '.join(names)}")


# Ordered by how much each usually costs.
_EXPLANATIONS: tuple[Callable[[_ScoredScene], Iterator[Note]], ...] = (
    _collision,
    _off_road,
    _red_light,
    _too_close,
    _without_a_moment,
)


def off_the_drivable_area(areas: Areas, states: Float64[np.ndarray, "T 11"]) -> Bool[np.ndarray, "T"]:
    """At which steps a corner of the car lies in no drivable area (strictly inside, as the score
    defines it)."""
    layers = [LAYERS[int(layer)] for layer in areas.layers]
    corners = np.concatenate([ego_corners(state[:3]) for state in states])
    inside = np.zeros(len(corners), bool)
    for shape, layer in zip(_shapes(areas.polygons), layers):
        if layer in DRIVABLE:
            inside |= shapely.contains_xy(shape, corners)
    return ~inside.reshape(-1, len(CORNERS)).all(-1)


def _shapes(polygons: Polygons) -> list[shapely.Polygon]:
    return [shapely.Polygon(rings[0], rings[1:]) for rings in rings_of(polygons)]


def _first(flags: Bool[np.ndarray, "T"]) -> int | None:
    steps = np.flatnonzero(flags)
    return int(steps[0]) if len(steps) else None


def _seconds(step: int) -> str:
    return f"{step * STEP_S:.1f} s"


def _at(step: int | None) -> str:
    return "" if step is None else f" at {_seconds(step)}"
