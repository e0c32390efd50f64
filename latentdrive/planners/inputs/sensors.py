"""A planner's sensors: which of a scene's sensors it opens, and the arrays that it makes of them.

First step of every learned planner. `Sensors.needs` names what must be opened, so nothing else is;
calling `Sensors` turns a Scene into arrays named as the fields of PlannerInputs. The panorama and the
LiDAR histogram are those of NAVSIM's Transfuser (agents/transfuser of the devkit).
"""

from dataclasses import dataclass, field

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from latentdrive.checkpoint_parts import checkpoint_part
from latentdrive.data.picture_size import WHOLE, scaled_intrinsics, sized
from latentdrive.errors import UnreadableScene
from latentdrive.planners.inputs.batch import Arrays
from latentdrive.types import FROZEN, CameraImage, Scene, SensorNeeds, camera_key

# What the panorama cuts off NAVSIM's pictures, in pixels of their size STORED (rows, columns): rows at
# the top and the bottom of each picture, columns at both sides of the left and the right picture.
STORED, ROWS_CUT, COLUMNS_CUT = (1080, 1920), 28, 416
PANORAMA = ("cam_l0", "cam_f0", "cam_r0")


@checkpoint_part
@dataclass(**FROZEN)
class Panorama:
    """Front-left, front and front-right camera side by side, as one picture of height x width pixels.

    Cut as in NAVSIM's Transfuser; pictures of another size than NAVSIM's are cut in proportion. Scaled
    as OpenCV does: bilinear, without antialiasing.
    """

    height: int
    width: int

    names = PANORAMA

    def __call__(self, scene: Scene) -> Arrays:
        """cameras: [1, 3, height, width]."""
        left, front, right = (
            _cut(picture_of(scene, name).pixels, columns) for name, columns in zip(self.names, (True, False, True))
        )
        if len({picture.shape[0] for picture in (left, front, right)}) > 1:
            sizes = ", ".join(f"{picture.shape[0]} x {picture.shape[1]}" for picture in (left, front, right))
            raise UnreadableScene(
                scene.token, f"a panorama needs three pictures of one height, but after cutting they are {sizes}"
            )
        joined = np.concatenate([left, front, right], 1)
        small = cv2.resize(joined, (self.width, self.height), interpolation=cv2.INTER_LINEAR)
        return {"cameras": np.ascontiguousarray(small.transpose(2, 0, 1))[None]}


@checkpoint_part
@dataclass(**FROZEN)
class Surround:
    """Several calibrated cameras, each scaled to height x width pixels. names: as in NAVSIM, lower case."""

    names: tuple[str, ...]
    height: int
    width: int

    def __call__(self, scene: Scene) -> Arrays:
        """cameras [V, 3, height, width], intrinsics [V, 3, 3] in their pixels, camera_to_ego [V, 4, 4]."""
        pictures = [picture_of(scene, name) for name in self.names]
        for name, picture in zip(self.names, pictures):
            if picture.intrinsics is None or picture.camera_to_ego is None:
                raise UnreadableScene(
                    scene.token, f"{name} has no calibration, but this planner projects points into its picture"
                )
        return {
            "cameras": np.stack([sized(picture.pixels, self.height, self.width) for picture in pictures]),
            "intrinsics": np.stack([self._intrinsics(picture) for picture in pictures]),
            "camera_to_ego": np.stack([picture.camera_to_ego for picture in pictures]).astype(np.float32),
        }

    def _intrinsics(self, picture: CameraImage) -> Float32[np.ndarray, "3 3"]:
        stored, size = picture.pixels.shape[1:], (self.height, self.width)
        return scaled_intrinsics(picture.intrinsics.astype(np.float64), view=WHOLE, stored=stored, size=size)


@checkpoint_part
@dataclass(**FROZEN)
class LidarGrid:
    """LiDAR points counted in square cells of the ground plane, as in NAVSIM's Transfuser.

    half_m: half the side of the square around the ego. cells_per_m: cells per metre. top_m: points at
    this height or above are ignored. split_m: of the others, points above this height form a channel;
    ground: the points at or below it form another one, before it. full: counts of this and more become 1.
    """

    half_m: float
    cells_per_m: float
    split_m: float
    top_m: float
    full: int
    ground: bool

    def __call__(self, scene: Scene) -> Arrays:
        """lidar: [channels, cells along x, cells along y], counts / full, float32 in [0, 1]."""
        if scene.lidar is None:
            raise UnreadableScene(scene.token, "the scene has no point cloud, but this planner needs one")
        points = scene.lidar[scene.lidar[:, 2] < self.top_m]
        above = points[points[:, 2] > self.split_m]
        channels = [points[points[:, 2] <= self.split_m], above] if self.ground else [above]
        return {"lidar": np.stack([self._histogram(channel) for channel in channels])}

    def _histogram(self, points: Float32[np.ndarray, "N 4"]) -> Float32[np.ndarray, "X Y"]:
        cells = round(2 * self.half_m * self.cells_per_m)
        edges = np.linspace(-self.half_m, self.half_m, cells + 1)
        counts = np.histogramdd(points[:, :2], bins=(edges, edges))[0]
        return (np.minimum(counts, self.full) / self.full).astype(np.float32)


@checkpoint_part
@dataclass(**FROZEN)
class Sensors:
    """All sensors of a planner, beside the ego's own state. cameras, lidar: None for a planner without."""

    cameras: Panorama | Surround | None
    lidar: LidarGrid | None
    needs: SensorNeeds = field(init=False)

    def __post_init__(self) -> None:
        names = () if self.cameras is None else self.cameras.names
        object.__setattr__(self, "needs", SensorNeeds(cameras=names, frames="now", lidar=self.lidar is not None))

    def __call__(self, scene: Scene) -> Arrays:
        """Arrays of one scene under the names of PlannerInputs. Raises UnreadableScene naming the missing sensor."""
        ego = scene.ego
        if not (ego.velocity_known and ego.acceleration_known):
            raise UnreadableScene(
                scene.token, "the ego's velocity or acceleration is unknown, and learned planners need both"
            )
        arrays = {
            "velocity": np.asarray(ego.velocity[-1], np.float32),
            "acceleration": np.asarray(ego.acceleration[-1], np.float32),
            "command": np.int64(ego.command),
        }
        for sensor in (self.cameras, self.lidar):
            arrays |= {} if sensor is None else sensor(scene)
        return arrays


def picture_of(scene: Scene, name: str) -> CameraImage:
    """A camera's picture of now, by NAVSIM's name. Raises UnreadableScene where the scene lacks it."""
    key = camera_key(name)
    if not scene.cameras.get(key):
        present = ", ".join(scene.cameras) or "none"
        raise UnreadableScene(
            scene.token, f"the scene has no picture of {name}, which this planner needs; its cameras are: {present}"
        )
    return scene.cameras[key][-1]


def _cut(pixels: UInt8[np.ndarray, "3 H W"], columns: bool) -> UInt8[np.ndarray, "h w 3"]:
    """A camera's part of the panorama. columns: also crop both sides."""
    height, width = pixels.shape[1:]
    rows = round(ROWS_CUT * height / STORED[0])
    side = round(COLUMNS_CUT * width / STORED[1]) if columns else 0
    return pixels[:, rows : height - rows, side : width - side].transpose(1, 2, 0)
