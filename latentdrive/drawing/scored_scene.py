"""A scored scene from above: where the car drove in simulation, what was planned, what others did,
and notes below.

Uses the view and the colours of bird_view.py. The car of the present looks up. Other road users
stand where they were at the decisive step, which the caller chooses: the moment of what cost most,
or the last step.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, UInt8
from PIL import Image, ImageDraw, ImageFont

from latentdrive.boxes import ego_corners
from latentdrive.drawing.bird_view import FINER, BirdView, draw_areas, draw_tracks, global_path
from latentdrive.drawing.camera_view import thinned
from latentdrive.drawing.colours import EGO, HUMAN, LANE, RED
from latentdrive.pdms.scene import STEP_S, STEPS, ScoringScene
from latentdrive.types import FROZEN

SIDE, TITLE, LINE = 720, 26, 18  # pixels: side of the view, height of the title above it and of each line below it
PLANNED, REFERENCE, SIMULATED = (255, 130, 40), (120, 220, 255), EGO
GHOSTS = range(0, STEPS, 10)  # steps at which the simulated car is outlined


@dataclass(**FROZEN)
class Note:
    """A line of text below the picture. step: the simulated step (0.1 s apart) it is about, None
    for the whole scene."""

    text: str
    step: int | None = None


def scored_scene_picture(
    scene: ScoringScene,
    *,
    title: str,
    notes: Sequence[Note],
    states: Float64[np.ndarray, "41 11"] | None,
    planned: Float[np.ndarray, "P 3"] | None,
    human: Float[np.ndarray, "Q 3"] | None,
    hit: str,
) -> UInt8[np.ndarray, "H W 3"]:
    """The picture of a scored scene.

    notes: the first one with a step decides the moment that is shown. states: simulated, None where
    there are none. planned, human: poses in the present ego frame, None where there are none. hit:
    token of the track that was hit, or "".
    """
    steps = [note.step for note in notes if note.step is not None]
    decisive = steps[0] if steps else STEPS - 1
    paths = {
        "PDM-Closed": (REFERENCE, scene.reference[:STEPS, :2]),
        "human": (HUMAN, _global_path(scene, human)),
        "planned": (PLANNED, _global_path(scene, planned)),
        "simulated": (SIMULATED, np.zeros((0, 2)) if states is None else states[:, :2]),
    }
    view = BirdView(scene.ego[:3], [points for _, points in paths.values()], side=SIDE)
    draw_areas(view, scene)
    draw_tracks(view, scene, decisive, hit=hit)
    for colour, points in paths.values():
        view.line(points, colour, 3)
    view.dots(thinned(paths["planned"][1][1:]), PLANNED)
    if states is not None:
        for step in GHOSTS:
            view.polygon(ego_corners(states[step, :3]), outline=SIMULATED, width=1)
        view.polygon(ego_corners(states[decisive, :3]), outline=RED if steps else SIMULATED, width=3)
    _mark_hit(view, scene, decisive, hit=hit)
    legend = {name: colour for name, (colour, points) in paths.items() if len(points)}
    return _sheet(view.image(), title, legend, notes, decisive)


def _global_path(scene: ScoringScene, poses: Float[np.ndarray, "P 3"] | None) -> Float64[np.ndarray, "n 2"]:
    """The present position and the poses, in global coordinates; empty where there are no poses."""
    if poses is None or not len(poses):
        return np.zeros((0, 2))
    return global_path(scene, poses)


def _mark_hit(view: BirdView, scene: ScoringScene, step: int, *, hit: str) -> None:
    """Draw a ring around the track that was hit: cones and pedestrians are small and lie below the
    car's outline."""
    if hit in scene.tracks.tokens and scene.tracks.present[step, scene.tracks.tokens.index(hit)]:
        ((x, y),) = view.pixels(scene.tracks.poses[step, [scene.tracks.tokens.index(hit)], :2])
        view.ring(x, y, 16, outline=RED, width=2 * FINER)


def _sheet(
    view: Image.Image, title: str, legend: dict[str, tuple[int, int, int]], notes: Sequence[Note], decisive: int
) -> UInt8[np.ndarray, "H W 3"]:
    """Title and view, with the legend and the notes below."""
    sheet = Image.new("RGB", (SIDE, TITLE + SIDE + LINE * (len(notes) + 1) + 8))
    sheet.paste(view, (0, TITLE))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=13)
    draw.text((6, 5), title, fill=EGO, font=font)
    x, y = 6, TITLE + SIDE + 4
    for name, colour in legend.items():
        draw.line((x, y + 8, x + 18, y + 8), fill=colour, width=3)
        draw.text((x + 23, y), name, fill=EGO, font=font)
        x += 38 + int(draw.textlength(name, font=font))
    draw.text((x, y), f"others at {decisive * STEP_S:.1f} s", fill=LANE, font=font)
    for number, note in enumerate(notes, 1):
        colour = RED if note.step is not None and note.step == decisive else EGO
        draw.text((6, y + LINE * number), note.text, fill=colour, font=font)
    return np.asarray(sheet)
