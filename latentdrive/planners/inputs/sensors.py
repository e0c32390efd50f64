"""What a planner sees of a scene: cameras made small, a LiDAR histogram, the ego's state. First step of every learned planner.

A planner's sensors say which sensors are opened (`needs`), so that nothing is loaded in vain, and turn a Scene into arrays under the
names of PlannerInputs. The panorama and the histogram are NAVSIM's for Transfuser (its agents/transfuser features).
"""

from dataclasses import dataclass, field

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from latentdrive.data.clips.sidecars import WHOLE
from latentdrive.data.navsim.scenes import scene_name
from latentdrive.data.picture_size import scaled_intrinsics, sized
from latentdrive.errors import UnreadableScene
from latentdrive.planners.inputs.batch import Arrays
from latentdrive.types import FROZEN, CameraImage, Scene, SensorNeeds

# Of NAVSIM's pictures of 1920 x 1080, what the panorama leaves out: rows above and below, columns at both sides of left and right.
STORED, ROWS_CUT, COLUMNS_CUT = (1080, 1920), 28, 416
PANORAMA = ("cam_l0", "cam_f0", "cam_r0")


@dataclass(**FROZEN)
class Panorama:
    """Front-left, front and front-right side by side, cut as NAVSIM's Transfuser does, as one picture of height x width pixels.

    Pictures of another size than NAVSIM's are cut in proportion. Scaled by bilinear interpolation without antialiasing, as OpenCV does.
    """

    height: int
    width: int

    names = PANORAMA

    def __call__(self, scene: Scene) -> Arrays:
        """cameras: [1, 3, height, width]."""
        left, front, right = (
            _cut(picture_of(scene, name).pixels, columns) for name, columns in zip(self.names, (True, False, True))
        )
        if len({part.shape[0] for part in (left, front, right)}) > 1:
            sizes = ", ".join(f"{part.shape[0]} x {part.shape[1]}" for part in (left, front, right))
            raise UnreadableScene(scene.token, f"a panorama needs three pictures of one height, after cutting: {sizes}")
        joined = np.concatenate([left, front, right], 1)
        small = cv2.resize(joined, (self.width, self.height), interpolation=cv2.INTER_LINEAR)
        return {"cameras": np.ascontiguousarray(small.transpose(2, 0, 1))[None]}


@dataclass(**FROZEN)
class Surround:
    """Several cameras apart, each scaled to height x width, with the calibration that goes with it. names: as in NAVSIM, lower case."""

    names: tuple[str, ...]
    height: int
    width: int

    def __call__(self, scene: Scene) -> Arrays:
        """cameras [V, 3, height, width], intrinsics [V, 3, 3] in their pixels, camera_to_ego [V, 4, 4]."""
        seen = [picture_of(scene, name) for name in self.names]
        for name, one in zip(self.names, seen):
            if one.intrinsics is None or one.camera_to_ego is None:
                raise UnreadableScene(scene.token, f"{name} has no calibration, and this planner projects into it")
        size = (self.height, self.width)
        return {
            "cameras": np.stack([sized(one.pixels, *size) for one in seen]),
            "intrinsics": np.stack(
                [
                    scaled_intrinsics(
                        one.intrinsics.astype(np.float64), view=WHOLE, stored=one.pixels.shape[1:], size=size
                    )
                    for one in seen
                ]
            ),
            "camera_to_ego": np.stack([one.camera_to_ego for one in seen]).astype(np.float32),
        }


@dataclass(**FROZEN)
class LidarGrid:
    """Points counted in cells of the ground plane, as NAVSIM's Transfuser does.

    half_m: half side of the square around the ego. cells_per_m. split_m: points above this height count, those of the same point
    cloud below `top_m`. full: count that is as good as any larger one. ground: a first channel with the points below the split.
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
            raise UnreadableScene(scene.token, "the scene has no point cloud, and this planner needs one")
        points = scene.lidar[scene.lidar[:, 2] < self.top_m]
        above = points[points[:, 2] > self.split_m]
        layers = [points[points[:, 2] <= self.split_m], above] if self.ground else [above]
        return {"lidar": np.stack([self._counted(layer) for layer in layers])}

    def _counted(self, points: Float32[np.ndarray, "N 4"]) -> Float32[np.ndarray, "X Y"]:
        cells = round(2 * self.half_m * self.cells_per_m)
        edges = np.linspace(-self.half_m, self.half_m, cells + 1)
        counts = np.histogramdd(points[:, :2], bins=(edges, edges))[0]
        return (np.minimum(counts, self.full) / self.full).astype(np.float32)


@dataclass(**FROZEN)
class Sensors:
    """Everything that a planner looks at. cameras, lidar: None for a planner without."""

    cameras: Panorama | Surround | None
    lidar: LidarGrid | None
    needs: SensorNeeds = field(init=False)

    def __post_init__(self) -> None:
        names = () if self.cameras is None else self.cameras.names
        object.__setattr__(self, "needs", SensorNeeds(cameras=names, frames="now", lidar=self.lidar is not None))

    def __call__(self, scene: Scene) -> Arrays:
        """Arrays of one scene under the names of PlannerInputs. Raises UnreadableScene naming the sensor that is missing."""
        ego = scene.ego
        if not (ego.velocity_known and ego.acceleration_known):
            raise UnreadableScene(scene.token, "the ego's velocity or acceleration is unknown, and planners need both")
        arrays = {
            "velocity": np.asarray(ego.velocity[-1], np.float32),
            "acceleration": np.asarray(ego.acceleration[-1], np.float32),
            "command": np.int64(ego.command),
        }
        for one in (self.cameras, self.lidar):
            arrays |= {} if one is None else one(scene)
        return arrays


def picture_of(scene: Scene, name: str) -> CameraImage:
    """A camera's picture of now, by NAVSIM's name. Raises UnreadableScene where the scene lacks it."""
    key = scene_name(name)
    if not scene.cameras.get(key):
        there = ", ".join(scene.cameras) or "none"
        raise UnreadableScene(
            scene.token, f"the scene has no picture of {name}, which this planner needs; it has: {there}"
        )
    return scene.cameras[key][-1]


def _cut(pixels: UInt8[np.ndarray, "3 H W"], columns: bool) -> UInt8[np.ndarray, "h w 3"]:
    height, width = pixels.shape[1:]
    rows = round(ROWS_CUT * height / STORED[0])
    side = round(COLUMNS_CUT * width / STORED[1]) if columns else 0
    return pixels[:, rows : height - rows, side : width - side].transpose(1, 2, 0)
