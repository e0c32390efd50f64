"""Plans of several planners in one picture: on the ground of the front camera's picture, from above, and named below.

Training shows its held-out plans with this; the report draws its scenes with the same views and colours.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from latentdrive.drawing.bird_view import PANEL, bev_with_trajectories, stands_still
from latentdrive.drawing.camera_view import camera_with_trajectories
from latentdrive.drawing.colours import EGO, Plans, with_colours
from latentdrive.pdms.scene import ScoringScene
from latentdrive.types import CameraImage

LINE, MARGIN = 20, 8  # pixels: height of a line of text, and its distance from the left


def side_by_side(
    image: CameraImage, scene: ScoringScene, plans: Mapping[str, Float[np.ndarray, "_ 3"]]
) -> UInt8[np.ndarray, "H W 3"]:
    """The camera's picture and the view from above with the same plans, and the names of the plans below.

    plans: poses in the ego frame of now, by name.
    """
    coloured = with_colours(plans)
    panels = (camera_with_trajectories(image, coloured, height=PANEL), bev_with_trajectories(scene, coloured))
    return with_legend(np.concatenate(panels, 1), coloured)


def with_legend(pixels: UInt8[np.ndarray, "h W 3"], plans: Plans) -> UInt8[np.ndarray, "H W 3"]:
    """The picture with a legend below: a line in each plan's colour and its name, in as many rows as needed."""
    font, width = ImageFont.load_default(size=13), pixels.shape[1]
    names = {f"{name} (stays)" if stands_still(poses) else name: colour for name, (poses, colour) in plans.items()}
    places, x, row = [], MARGIN, 0
    for name in names:
        wide = 40 + int(font.getlength(name))
        if x > MARGIN and x + wide > width:
            x, row = MARGIN, row + 1
        places.append((x, pixels.shape[0] + 4 + row * LINE))
        x += wide
    sheet = Image.new("RGB", (width, pixels.shape[0] + (row + 1) * LINE + 6))
    sheet.paste(Image.fromarray(pixels))
    draw = ImageDraw.Draw(sheet)
    for (x, y), (name, colour) in zip(places, names.items()):
        draw.line((x, y + 9, x + 18, y + 9), fill=colour, width=3)
        draw.text((x + 24, y + 1), name, fill=EGO, font=font)
    return np.asarray(sheet)
