"""Draws what the runtime did into the frames that it saw: the plan on the road and from above, and the status."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from latentdrive.data.picture_size import sized
from latentdrive.drawing.bird_view import BirdView
from latentdrive.drawing.camera_view import camera_with_trajectories
from latentdrive.drawing.colours import EGO, Colour
from latentdrive.export.runtime import PLANNED, SHIFTED, STOP
from latentdrive.playback.loop import Moment
from latentdrive.playback.source import Calibration
from latentdrive.types import CameraImage

HEIGHT = 360  # rows of the camera's picture in the video
PANEL = 40  # rows of the status below
INSET = 150  # pixels: side of the view from above
PAINTS: dict[str, Colour] = {PLANNED: (80, 225, 255), SHIFTED: (255, 200, 60), STOP: (240, 60, 60)}
WORDS = {PLANNED: "planned", SHIFTED: "previous plan", STOP: "stopping"}
SHOWN_FAULTS = 3


def annotated(
    picture: UInt8[np.ndarray, "H W 3"], moment: Moment | None, calibration: Calibration | None
) -> UInt8[np.ndarray, "h w 3"]:
    """One frame of the video. moment: the newest plan at this frame; None before the first.

    Rows and columns are even, as video encoders want them. Without a calibration the plan is drawn from above alone.
    """
    height, width = picture.shape[:2]
    wide = 2 * round(width * HEIGHT / height / 2)
    pixels = sized(picture.transpose(2, 0, 1), HEIGHT, wide)
    plans = {} if moment is None else {"plan": (moment.poses.astype(np.float64), PAINTS[moment.status.source])}
    view = pixels.transpose(1, 2, 0).copy()
    if calibration is not None:
        scale = np.diag([wide / width, HEIGHT / height, 1.0])
        image = CameraImage(
            pixels=np.ascontiguousarray(pixels),
            intrinsics=(scale @ calibration[0]).astype(np.float32),
            camera_to_ego=np.asarray(calibration[1], np.float32),
        )
        view = camera_with_trajectories(image, plans)
    sheet = Image.new("RGB", (wide, HEIGHT + PANEL))
    sheet.paste(Image.fromarray(view))
    if moment is not None:
        sheet.paste(Image.fromarray(_from_above(moment)), (wide - INSET - 6, 6))
        _write_status(sheet, moment)
    return np.asarray(sheet)


def summary_lines(moments: Sequence[Moment]) -> list[str]:
    """What a run says of its plans: sources, times, faults."""
    if not moments:
        return ["no plan was asked for"]
    sources = Counter(moment.status.source for moment in moments)
    faults = Counter(fault for moment in moments for fault in moment.status.faults)
    times = 1e3 * np.array([moment.status.elapsed_s for moment in moments])
    lines = [f"{len(moments):,} plans: " + ", ".join(f"{count:,} {WORDS[name]}" for name, count in sources.items())]
    lines.append(f"a plan took {np.median(times):.1f} ms (p99 {np.quantile(times, 0.99):.1f}, worst {times.max():.1f})")
    return lines + [f"  {count:,} times {fault}" for fault, count in faults.most_common()]


def _from_above(moment: Moment) -> UInt8[np.ndarray, "s s 3"]:
    path = np.concatenate([np.zeros((1, 2)), moment.poses[:, :2].astype(np.float64)])
    view = BirdView(np.zeros(3), [path], side=INSET)
    view.line(path, PAINTS[moment.status.source], 2)
    view.dots(path[1:], PAINTS[moment.status.source])
    view.dots(np.zeros((1, 2)), EGO)
    return np.asarray(view.image())


def _write_status(sheet: Image.Image, moment: Moment) -> None:
    status, draw, top = moment.status, ImageDraw.Draw(sheet), HEIGHT
    steps = f", {status.steps} steps" if status.steps else ""
    line = f"{WORDS[status.source]}   {1e3 * status.elapsed_s:.1f} ms{steps}   {status.provider}"
    faults = ", ".join(status.faults[:SHOWN_FAULTS]).replace("_", " ")
    more = f" and {len(status.faults) - SHOWN_FAULTS} more" if len(status.faults) > SHOWN_FAULTS else ""
    alarm = f"ALARM: {status.missed:.0%} of the frames are missing   " if status.alarm else ""
    draw.rectangle((8, top + 6, 16, top + 14), fill=PAINTS[status.source])
    draw.text((24, top + 2), line, fill=EGO, font=ImageFont.load_default(size=13))
    draw.text((24, top + 20), alarm + faults + more, fill=PAINTS[SHIFTED], font=ImageFont.load_default(size=12))
