"""A planner's or predictor's cameras inside a graph: raw pictures, as the camera gives them, become network inputs.

Does what planners/inputs/sensors.py and planners/latents/live.py do with NumPy and OpenCV, for pictures of one size.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from latentdrive.data.batches.predictor_inputs import PredictorInputs
from latentdrive.data.picture_size import fit_picture
from latentdrive.errors import ConfigError
from latentdrive.export.resampling import Resample, scaled_like
from latentdrive.planners.inputs.sensors import COLUMNS_CUT, ROWS_CUT, STORED, Panorama, Surround

Size = tuple[int, int]  # rows, columns
Pictures = Mapping[str, UInt8[Tensor, "H W 3"]]  # by camera


class PanoramaPicture(nn.Module):
    """Three raw pictures → the panorama. sizes: of the raw pictures by camera; they share their rows."""

    def __init__(self, panorama: Panorama, sizes: Mapping[str, Size]) -> None:
        super().__init__()
        self.names = panorama.names
        self.rows, self.columns, widths = {}, {}, 0
        heights = {name: sizes[name][0] for name in self.names}
        if len(set(heights.values())) > 1:
            raise ConfigError(f"a panorama needs three pictures of one height, the cameras give {heights}")
        for name in self.names:
            height, width = sizes[name]
            side = 0 if name == self.names[1] else round(COLUMNS_CUT * width / STORED[1])
            self.rows[name], self.columns[name] = round(ROWS_CUT * height / STORED[0]), side
            widths += width - 2 * side
        rows = sizes[self.names[0]][0] - 2 * self.rows[self.names[0]]
        size = (panorama.height, panorama.width)
        self.scale = Resample(source=(rows, widths), size=size, how="bilinear")

    def forward(self, pictures: Pictures) -> UInt8[Tensor, "1 1 3 h w"]:
        """Cut, side by side, and scaled."""
        cut = []
        for name in self.names:
            picture, rows, columns = pictures[name], self.rows[name], self.columns[name]
            cut.append(picture[rows : picture.shape[0] - rows, columns : picture.shape[1] - columns])
        return self.scale(torch.cat(cut, 1).permute(2, 0, 1)[None])[None]


class SurroundPictures(nn.Module):
    """Raw pictures of several cameras, each scaled to one size. sizes: of the raw pictures by camera."""

    def __init__(self, surround: Surround, sizes: Mapping[str, Size]) -> None:
        super().__init__()
        self.names, size = surround.names, (surround.height, surround.width)
        self.scales = nn.ModuleList(
            Resample(source=sizes[name], size=size, how=scaled_like(sizes[name], size)) for name in self.names
        )
        across, down = ([size[axis] / sizes[name][axis] for name in self.names] for axis in (1, 0))
        factors = torch.tensor([across, down, [1.0] * len(across)], dtype=torch.float64).T
        # A pixel's centre has whole coordinates, so scaling moves the principal point by half a pixel more.
        moved = torch.zeros(len(across), 3, 3, dtype=torch.float64)
        moved[:, :2, 2] = 0.5 * factors[:, :2] - 0.5
        self.register_buffer("factors", factors[..., None].float(), persistent=False)
        self.register_buffer("moved", moved.float(), persistent=False)

    def forward(self, pictures: Pictures) -> UInt8[Tensor, "1 V 3 h w"]:
        """The scaled pictures in the planner's order."""
        scaled = [
            scale(pictures[name].permute(2, 0, 1)[None]) for scale, name in zip(self.scales, self.names, strict=True)
        ]
        return torch.stack(scaled, 1)

    def intrinsics(self, raw: Float[Tensor, "V 3 3"]) -> Float[Tensor, "1 V 3 3"]:
        """Intrinsics in pixels of the scaled pictures. raw: in pixels of the raw ones."""
        return (raw * self.factors + self.moved)[None]


class PredictorPicture(nn.Module):
    """A raw picture of the front camera at a predictor's training size. source: rows and columns of the raw one."""

    def __init__(self, inputs: PredictorInputs, source: Size) -> None:
        super().__init__()
        self.size = (inputs.height, inputs.width)
        self.fit = fit_picture(source, self.size, inputs.fit)
        self.scale = Resample(source=source, size=self.fit.scaled, how=scaled_like(source, self.fit.scaled))

    def forward(self, picture: UInt8[Tensor, "H W 3"]) -> UInt8[Tensor, "1 1 3 h w"]:
        """Scaled, and cut to size."""
        scaled = self.scale(picture.permute(2, 0, 1)[None])
        top, left = self.fit.top, self.fit.left
        return scaled[..., top : top + self.size[0], left : left + self.size[1]][None]
