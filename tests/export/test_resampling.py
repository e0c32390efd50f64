"""Scaling inside graphs is OpenCV's, within one level of 255."""

import cv2
import numpy as np
import pytest
import torch

from latentdrive.data.batches.predictor_inputs import PredictorInputs
from latentdrive.data.picture_size import fitted
from latentdrive.errors import ConfigError
from latentdrive.export.made_scene import made_scene
from latentdrive.export.pictures import PanoramaPicture, PredictorPicture, SurroundPictures
from latentdrive.export.resampling import Resample
from latentdrive.planners.inputs.sensors import Panorama, Surround
from latentdrive.types import FRONT, SensorNeeds, camera_key

ONE_LEVEL, SELDOM = 1, 0.0001  # largest difference, and the share of pixels that may have it


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def require_near(ours: torch.Tensor, theirs: np.ndarray) -> None:
    difference = np.abs(ours.numpy().astype(int) - theirs.astype(int))
    assert difference.max() <= ONE_LEVEL and (difference > 0).mean() <= SELDOM


@pytest.mark.parametrize(
    ("source", "size"), [((108, 192), (43, 77)), ((54, 96), (27, 48)), ((61, 97), (61, 97)), ((1080, 1920), (432, 768))]
)
@pytest.mark.parametrize(("how", "flag"), [("area", cv2.INTER_AREA), ("bilinear", cv2.INTER_LINEAR)])
def test_shrinking_is_opencvs(source, size, how, flag):
    raw = picture(*source)
    ours = Resample(source=source, size=size, how=how)(torch.from_numpy(raw).permute(2, 0, 1)[None])
    require_near(ours[0].permute(1, 2, 0), cv2.resize(raw, size[::-1], interpolation=flag))


def test_growing_is_opencvs_bilinear_and_area_does_not_grow():
    raw = picture(30, 40)
    ours = Resample(source=(30, 40), size=(77, 90), how="bilinear")(torch.from_numpy(raw).permute(2, 0, 1)[None])
    require_near(ours[0].permute(1, 2, 0), cv2.resize(raw, (90, 77), interpolation=cv2.INTER_LINEAR))
    with pytest.raises(ConfigError, match="it grows"):
        Resample(source=(30, 40), size=(20, 50), how="area")


@pytest.mark.parametrize("size", [(270, 480), (1080, 1920)])
def test_the_panorama_is_that_of_training(size):
    panorama = Panorama(height=64, width=256)
    scene = made_scene(SensorNeeds(cameras=panorama.names, frames="now", lidar=False), size)
    raw = {n: torch.from_numpy(scene.cameras[camera_key(n)][-1].pixels).permute(1, 2, 0) for n in panorama.names}
    require_near(PanoramaPicture(panorama, dict.fromkeys(panorama.names, size))(raw), panorama(scene)["cameras"][None])
    with pytest.raises(ConfigError, match="three pictures of one height"):
        PanoramaPicture(panorama, {"cam_l0": (1, 2), "cam_f0": (3, 4), "cam_r0": (1, 2)})


def test_surround_pictures_and_their_intrinsics_are_those_of_training():
    surround = Surround(names=("cam_f0", "cam_l0", "cam_b0"), height=48, width=80)
    scene = made_scene(SensorNeeds(cameras=surround.names, frames="now", lidar=False), (135, 240))
    stages = SurroundPictures(surround, dict.fromkeys(surround.names, (135, 240)))
    raw = {n: torch.from_numpy(scene.cameras[camera_key(n)][-1].pixels).permute(1, 2, 0) for n in surround.names}
    expected = surround(scene)
    require_near(stages(raw), expected["cameras"][None])
    matrices = np.stack([scene.cameras[camera_key(name)][-1].intrinsics for name in surround.names])
    ours = stages.intrinsics(torch.from_numpy(matrices))
    assert np.allclose(ours[0].numpy(), expected["intrinsics"], atol=1e-4)


@pytest.mark.parametrize("fit", ["crop", "stretch"])
def test_a_predictors_picture_is_that_of_training(fit):
    scene = made_scene(SensorNeeds(cameras=("cam_f0",), frames="now", lidar=False), (135, 240))
    raw = np.ascontiguousarray(scene.cameras[FRONT][-1].pixels.transpose(1, 2, 0))
    inputs = PredictorInputs(height=60, width=90, fit=fit, commands=True)
    ours = PredictorPicture(inputs, (135, 240))(torch.from_numpy(raw))
    require_near(ours[0, 0].permute(1, 2, 0), fitted(raw, (60, 90), fit))
