"""The scenes in which two planners differ most: what the car saw, the view from above, both plans, and what each was marked down for.

After evaluations.py. Scenes are opened again from the data that the evaluation was made of; where these are gone the page says so and
shows the numbers alone.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from latentdrive.build import build
from latentdrive.data.clips.data_set import DataSet
from latentdrive.drawing.bird_view import bev_with_trajectories
from latentdrive.drawing.colours import DRIVER, with_colours
from latentdrive.drawing.plans import side_by_side, with_legend
from latentdrive.errors import LatentDriveError
from latentdrive.evaluation.results import Results
from latentdrive.evaluation.trajectories_file import TRAJECTORIES, read_trajectories
from latentdrive.pdms.scene import ScoringScene
from latentdrive.pdms.storage.store import ScoringStore
from latentdrive.planners.baselines.human import Human
from latentdrive.planners.sampling import NO_SENSORS
from latentdrive.report.drawings import picture
from latentdrive.report.evaluation_charts import spoken
from latentdrive.report.evaluations import Evaluation
from latentdrive.run_folder import progress
from latentdrive.types import FRONT, FRONT_CAMERA, CameraImage, SceneSource, SensorNeeds, Trajectory

EPSILON = 1e-9  # differences below it are none
ABOVE = 560  # pixels: side of the view from above where there is no camera


@dataclass(frozen=True, kw_only=True)
class GalleryScene:
    """One scene. scores: of both. differs: sub-scores that differ, with both values. picture: data address, empty where it can't be
    drawn; note: why, or what is missing in it."""

    token: str
    drive: str
    scores: tuple[float, float]
    differs: list[tuple[str, str, str]]
    picture: str
    note: str


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """names: of both planners. says: how they were chosen and what is shown. notes: what could not be opened."""

    names: tuple[str, str]
    says: str
    scenes: list[GalleryScene]
    notes: list[str]


def gallery(a: Evaluation, b: Evaluation, *, count: int, why: str) -> Gallery | None:
    """The `count` scenes in which two evaluations differ most; None for none. why: these two."""
    rows = most_different(a.results, b.results, count)
    if not rows:
        return None
    notes: list[str] = []
    planned = [_or_none(lambda one=one: read_trajectories(one.run.path / TRAJECTORIES), notes) or {} for one in (a, b)]
    opener = _opener(a, b, notes) if any(planned) else None
    scenes = [_scene((a, b), pair, planned, opener) for pair in rows]
    both = len(set(a.results.tokens) & set(b.results.tokens))
    says = (
        f"{why} Shown is where their scores differ most, {len(rows)} of {both:,} scenes that both have; among equal differences drives take "
        "turns, and scenes that failed are left out. Left: the front camera with the plans on the ground; right: the same from above, the "
        "car of now looks up, others stand where they are now and a thin line says where they go."
    )
    return Gallery(names=(a.name, b.name), says=says, scenes=scenes, notes=notes)


def most_different(a: Results, b: Results, count: int) -> list[tuple[int, int]]:
    """Rows of both of the scenes whose totals differ most, most first; among equal ones the drive that was shown least.

    Scenes that failed in either are left out, as are those that do not differ.
    """
    place = {token: row for row, token in enumerate(b.tokens)}
    apart = {
        (row, place[token]): round(abs(float(a.score[row] - b.score[place[token]])), 9)
        for row, token in enumerate(a.tokens)
        if token in place and a.valid[row] and b.valid[place[token]]
    }
    left = {pair: value for pair, value in apart.items() if value > EPSILON}
    shown: dict[str, int] = {}
    chosen: list[tuple[int, int]] = []
    while left and len(chosen) < count:
        pair = min(left, key=lambda pair: (-left[pair], shown.get(a.drives[pair[0]], 0), pair))
        del left[pair]
        chosen.append(pair)
        shown[a.drives[pair[0]]] = shown.get(a.drives[pair[0]], 0) + 1
    return chosen


# ---- one scene ----


def _scene(
    pair: tuple[Evaluation, Evaluation], rows: tuple[int, int], planned: list[dict[str, Trajectory]], opener: "_Opener | None"
) -> GalleryScene:  # fmt: skip
    a, b = (one.results for one in pair)
    token = a.tokens[rows[0]]
    drawn, note = None, ""
    if opener is not None:
        plans = {_label(one): some[token].poses for one, some in zip(pair, planned) if token in some}
        try:
            drawn, note = opener.drawn(token, plans)
        except LatentDriveError as error:
            note = f"No picture: {error}"
    return GalleryScene(
        token=token, drive=a.drives[rows[0]], scores=(float(a.score[rows[0]]), float(b.score[rows[1]])),
        differs=list(_differing(a, b, rows)), note=note,
        picture="" if drawn is None else picture(np.ascontiguousarray(drawn.transpose(2, 0, 1))),
    )  # fmt: skip


def _label(one: Evaluation) -> str:
    """The human driver is drawn once, under its own name."""
    return DRIVER if one.planner == Human.__name__ else one.name


def _differing(a: Results, b: Results, rows: tuple[int, int]) -> list[tuple[str, str, str]]:
    """Sub-scores that differ in a scene."""
    values = {name: (a.terms[name][rows[0]], b.terms[name][rows[1]]) for name in a.terms}
    told = {name: tuple("none" if np.isnan(one) else f"{one:.2f}" for one in both) for name, both in values.items()}
    return [(spoken(name), *both) for name, both in told.items() if both[0] != both[1]]


# ---- opening ----


@dataclass(frozen=True, kw_only=True)
class _Opener:
    """The data of an evaluation, opened again. source: None where the pictures are gone, or there never were any."""

    source: SceneSource | None
    has_camera: bool
    store: ScoringStore

    def drawn(
        self, token: str, plans: Mapping[str, Float[np.ndarray, "_ 3"]]
    ) -> tuple[UInt8[np.ndarray, "H W 3"], str]:  # fmt: skip
        """The picture of a scene, and what is missing in it. Raises StoreError where the prepared scene is gone."""
        scene = self.store.get(token)
        missing: list[str] = []
        image = _or_none(lambda: self._image(token), missing)
        human = _or_none(lambda: self._human(token, scene), missing) if DRIVER not in plans else None
        plans = ({} if human is None else {DRIVER: human}) | dict(plans)
        if image is not None:
            return side_by_side(image, scene, plans), " ".join(missing)
        painted = with_colours(plans)
        return with_legend(bev_with_trajectories(scene, painted, side=ABOVE), painted), " ".join(missing)

    def _image(self, token: str) -> CameraImage | None:
        if self.source is None or not self.has_camera:
            return None
        return self.source[token].cameras[FRONT][-1]

    def _human(self, token: str, scene: ScoringScene) -> Float[np.ndarray, "_ 3"] | None:
        """v2 keeps the driver's way in the prepared scene; for v1 it is read from the log."""
        if len(scene.human):
            return scene.human
        return None if self.source is None else self.source.truth(token).human.poses


def _opener(a: Evaluation, b: Evaluation, notes: list[str]) -> _Opener | None:
    """From the first of the two whose prepared scenes are there; None where they are gone for both, which the notes then say."""
    failed: list[str] = []
    for one in (a, b):
        store = _or_none(lambda one=one: _store(one), failed)
        if store is not None:
            failure = f"The scenes of {one.name} can't be opened again: "
            data = _or_none(lambda one=one: build(one.run.config.get("data") or {}), notes, failure)
            source = None if data is None else _or_none(lambda one=one, data=data: _source(one, data), notes, failure)
            return _Opener(source=source, has_camera=source is not None and data.scenes.has_sensors, store=store)
    notes.append(f"Scenes can't be drawn, their prepared form is gone: {failed[0]}")
    return None


def _store(one: Evaluation) -> ScoringStore:
    return ScoringStore(Path(str(one.run.written.get("store", ""))).expanduser(), rules=one.results.version.rules)


def _source(one: Evaluation, data: DataSet) -> SceneSource:
    camera = SensorNeeds(cameras=(FRONT_CAMERA,), frames="now", lidar=False)
    needs = camera if data.scenes.has_sensors else NO_SENSORS
    return data.open_scenes(split=one.run.config.get("split"), needs=needs, progress=progress)


def _or_none(make: Callable[[], Any], notes: list[str], before: str = "") -> Any:
    """What `make` gives; None where it can't, and the reason joins the notes."""
    try:
        return make()
    except LatentDriveError as error:
        notes.append(f"{before}{error}")
        return None
