"""The scenes in which two planners differ most: camera, view from above, both plans, and what each
lost.

Scenes are opened again from the data of the evaluation. Where these are gone, the page says so and
shows the numbers alone.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from latentdrive.data.clips.data_set import DataSet
from latentdrive.drawing.bird_view import bev_with_trajectories
from latentdrive.drawing.colours import DRIVER, with_colours
from latentdrive.drawing.plans import side_by_side, with_legend
from latentdrive.errors import LatentDriveError
from latentdrive.evaluation.results import Results
from latentdrive.evaluation.trajectories_file import TRAJECTORIES, read_trajectories
from latentdrive.pdms.scene import ScoringScene
from latentdrive.pdms.storage.store import ScoringStore
from latentdrive.planners.sampling import NO_SENSORS
from latentdrive.report.drawings import picture
from latentdrive.report.evaluation_charts import in_words
from latentdrive.report.evaluations import Evaluation
from latentdrive.report.run_data import RunData
from latentdrive.run_folder import progress
from latentdrive.statistics import recording_of
from latentdrive.types import FRONT, FRONT_CAMERA, CameraImage, SceneSource, SensorNeeds, Trajectory

EPSILON = 1e-9  # smaller differences of a score are none
SIDE = 560  # pixels: side of the view from above where there is no camera


@dataclass(frozen=True, kw_only=True)
class GalleryScene:
    """One scene of a gallery.

    scores: totals of both planners. differing: (name, first, second) of each sub-score that
    differs. picture: data address, empty where it cannot be drawn. note: what is missing in the
    picture, or why there is none.
    """

    token: str
    drive: str
    scores: tuple[float, float]
    differing: list[tuple[str, str, str]]
    picture: str
    note: str


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """names: of both planners. about: how the scenes were chosen and what is shown. notes: what
    could not be opened."""

    names: tuple[str, str]
    about: str
    scenes: list[GalleryScene]
    notes: list[str]


def gallery(a: Evaluation, b: Evaluation, run_data: RunData, *, count: int, why: str) -> Gallery | None:
    """The `count` scenes in which two evaluations differ most; None if they never differ. run_data:
    opens their data. why: these two were chosen."""
    rows = most_different(a.results, b.results, count)
    if not rows:
        return None
    notes: list[str] = []
    planned = [
        _or_none(lambda evaluation=evaluation: read_trajectories(evaluation.run.path / TRAJECTORIES), notes) or {}
        for evaluation in (a, b)
    ]
    opener = _opener(a, b, run_data, notes) if any(planned) else None
    shared = len(set(a.results.tokens) & set(b.results.tokens))
    return Gallery(
        names=(a.name, b.name),
        about=(
            f"{why} Shown are the scenes in which their scores differ most: {len(rows)} of "
            f"{shared:,} that both have. Among equal "
            "differences, drives take turns; failed scenes are left out. Left: the front camera "
            "with the plans on the ground. "
            "Right: the same from above; the ego car looks up, and a thin line shows where each other road user goes."
        ),
        scenes=[_scene((a, b), pair, planned, opener) for pair in rows],
        notes=notes,
    )


def most_different(a: Results, b: Results, count: int) -> list[tuple[int, int]]:
    """Rows in both results of the scenes whose totals differ most, the largest difference first.

    Among equal differences, the drive that was chosen least comes first. Scenes that failed in
    either, or that do not differ, are left out.
    """
    place = {token: row for row, token in enumerate(b.tokens)}
    apart = {
        (row, place[token]): round(abs(float(a.score[row] - b.score[place[token]])), 9)
        for row, token in enumerate(a.tokens)
        if token in place and a.valid[row] and b.valid[place[token]]
    }
    left = {pair: difference for pair, difference in apart.items() if difference > EPSILON}
    times: Counter[str] = Counter()  # that a drive was chosen
    chosen: list[tuple[int, int]] = []
    while left and len(chosen) < count:
        pair = min(left, key=lambda pair: (-left[pair], times[recording_of(a.drives[pair[0]])], pair))
        del left[pair]
        chosen.append(pair)
        times[recording_of(a.drives[pair[0]])] += 1
    return chosen


# ---- one scene ----


def _scene(
    pair: tuple[Evaluation, Evaluation],
    rows: tuple[int, int],
    planned: list[dict[str, Trajectory]],
    opener: "_Opener | None",
) -> GalleryScene:
    a, b = (evaluation.results for evaluation in pair)
    token = a.tokens[rows[0]]
    pixels, note = None, ""
    if opener is not None:
        plans = {_label(evaluation): plan[token].poses for evaluation, plan in zip(pair, planned) if token in plan}
        try:
            pixels, note = opener.draw(token, plans)
        except LatentDriveError as error:
            note = f"No picture: {error}"
    return GalleryScene(
        token=token,
        drive=a.drives[rows[0]],
        scores=(float(a.score[rows[0]]), float(b.score[rows[1]])),
        differing=_differing(a, b, rows),
        picture="" if pixels is None else picture(np.ascontiguousarray(pixels.transpose(2, 0, 1))),
        note=note,
    )


def _label(evaluation: Evaluation) -> str:
    """The name of a plan; the human driver is drawn once, under its own name."""
    return DRIVER if evaluation.is_human_driver else evaluation.name


def _differing(a: Results, b: Results, rows: tuple[int, int]) -> list[tuple[str, str, str]]:
    """Name and both values of the sub-scores that differ in a scene."""
    texts = {
        name: tuple(
            "none" if np.isnan(value) else f"{value:.2f}" for value in (a.terms[name][rows[0]], b.terms[name][rows[1]])
        )
        for name in a.terms
    }
    return [(in_words(name), first, second) for name, (first, second) in texts.items() if first != second]


# ---- opening ----


@dataclass(frozen=True, kw_only=True)
class _Opener:
    """The data of an evaluation, opened again. source: None where the pictures are gone, or never
    existed."""

    source: SceneSource | None
    has_camera: bool
    store: ScoringStore

    def draw(self, token: str, plans: Mapping[str, Float[np.ndarray, "_ 3"]]) -> tuple[UInt8[np.ndarray, "H W 3"], str]:
        """The picture of a scene, and what is missing in it. Raises StoreError where the prepared
        scene is gone."""
        scene = self.store.get(token)
        missing: list[str] = []
        image = _or_none(lambda: self._image(token), missing)
        human = _or_none(lambda: self._human(token, scene), missing) if DRIVER not in plans else None
        plans = ({} if human is None else {DRIVER: human}) | dict(plans)
        if image is not None:
            return side_by_side(image, scene, plans), " ".join(missing)
        coloured = with_colours(plans)
        return with_legend(bev_with_trajectories(scene, coloured, side=SIDE), coloured), " ".join(missing)

    def _image(self, token: str) -> CameraImage | None:
        if self.source is None or not self.has_camera:
            return None
        return self.source[token].cameras[FRONT][-1]

    def _human(self, token: str, scene: ScoringScene) -> Float[np.ndarray, "_ 3"] | None:
        """The driver's trajectory: part of a scene prepared for v2, read from the log for v1."""
        if len(scene.human):
            return scene.human
        return None if self.source is None else self.source.truth(token).human.poses


def _opener(a: Evaluation, b: Evaluation, run_data: RunData, notes: list[str]) -> _Opener | None:
    """Opens the data of the first of the two whose prepared scenes exist; None, with a note, where
    neither has any."""
    failed: list[str] = []
    for evaluation in (a, b):
        store = _or_none(lambda evaluation=evaluation: _store(evaluation, run_data), failed)
        if store is not None:
            source, has_camera = _source(evaluation, run_data, notes)
            return _Opener(source=source, has_camera=has_camera, store=store)
    notes.append(f"Scenes can't be drawn: {failed[0]}")
    return None


def _store(evaluation: Evaluation, run_data: RunData) -> ScoringStore:
    run_data.allow(evaluation.run)
    folder = Path(str(evaluation.run.written.get("store", ""))).expanduser()
    return ScoringStore(folder, rules=evaluation.results.version.rules)


def _source(evaluation: Evaluation, run_data: RunData, notes: list[str]) -> tuple[SceneSource | None, bool]:
    """The scenes of an evaluation with their front camera, and whether they have one; None with a
    note where they are gone."""

    def opened() -> tuple[SceneSource, bool]:
        data: DataSet = run_data.build(evaluation.run, evaluation.run.config.get("data") or {})
        has_camera = data.scenes.has_sensors
        camera = SensorNeeds(cameras=(FRONT_CAMERA,), frames="now", lidar=False)
        needs = camera if has_camera else NO_SENSORS
        return data.open_scenes(split=data.test_split, needs=needs, progress=progress), has_camera

    return _or_none(opened, notes, f"The scenes of {evaluation.name} can't be opened again: ") or (None, False)


def _or_none(make: Callable[[], Any], notes: list[str], before: str = "") -> Any:
    """The result of `make`; None where it raises one of our errors, which is then added to the
    notes."""
    try:
        return make()
    except LatentDriveError as error:
        notes.append(f"{before}{error}")
        return None
