"""Frame features: published weights under timm's names, the right timm model for them, statistics, and
the cache's extractor.
"""

import os
import pickle
import socket

import numpy as np
import pytest
import skimage.data
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from latentdrive.backbones import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    CachedMaps,
    PixelFeatures,
    TimmFeatures,
    package_weights,
)
from latentdrive.errors import CheckpointError, ConfigError

torch.set_num_threads(1)
PICTURES = {  # picture: ImageNet classes of what it shows
    "chelsea": (281, 282, 285),  # tabby, tiger cat, Egyptian cat
    "coffee": (967, 504, 968),  # espresso, coffee mug, cup
    "rocket": (657, 744),  # missile, projectile
}


def lite0(weights: str = "none") -> TimmFeatures:
    torch.manual_seed(0)
    return TimmFeatures(backbone="efficientnet_lite0", stages=[2], stride=8, weights=weights)


def frames(count: int, height: int = 48, width: int = 64, seed: int = 0) -> torch.Tensor:
    return torch.randint(
        0, 256, (count, 3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )


def probability_of_truth(name: str) -> dict[str, float]:
    """Summed probability of the right classes by the timm model `name` with the package's weights."""
    model = timm.create_model(name, pretrained=False).eval()
    model.load_state_dict(package_weights("efficientnet_lite0"), strict=True)
    mean, std = torch.tensor(IMAGENET_MEAN).view(3, 1, 1), torch.tensor(IMAGENET_STD).view(3, 1, 1)
    shares = {}
    for picture, classes in PICTURES.items():
        pixels = (
            torch.from_numpy(np.ascontiguousarray(getattr(skimage.data, picture)())).permute(2, 0, 1)[None].float()
            / 255
        )
        side = min(pixels.shape[-2:])
        top, left = (pixels.shape[-2] - side) // 2, (pixels.shape[-1] - side) // 2
        square = F.interpolate(
            pixels[..., top : top + side, left : left + side], (224, 224), mode="bicubic", antialias=True
        )
        with torch.no_grad():
            shares[picture] = model((square - mean) / std).softmax(-1)[0, list(classes)].sum().item()
    return shares


def test_the_package_s_weights_are_those_of_timm_s_efficientnet_lite0_with_imagenet_s_normalisation():
    ours, other = probability_of_truth("efficientnet_lite0"), probability_of_truth("tf_efficientnet_lite0")
    assert min(ours.values()) > 0.6, ours
    assert sum(ours.values()) > sum(other.values()) + 0.2, (ours, other)


def test_all_weights_of_the_backbone_come_from_the_package():
    features = lite0("package")
    before = {key: value.clone() for key, value in features.backbone.state_dict().items()}
    features.load_pretrained()
    after = features.backbone.state_dict()
    assert all(not torch.equal(before[key], after[key]) for key in after if key.endswith("conv_pw.weight"))
    stem = next(value for key, value in after.items() if key.endswith("conv_stem.weight"))
    assert torch.equal(stem, package_weights("efficientnet_lite0")["conv_stem.weight"])


def test_features_have_one_column_a_patch_and_do_not_depend_on_training_mode():
    features = lite0("package")
    features.load_pretrained()
    first = features.train()(frames(2))
    assert first.shape == (2, features.channels, 6, 8)
    assert not features.training and not features.backbone.training
    assert torch.equal(first, features.eval()(frames(2)))
    assert not any(weight.requires_grad for weight in features.parameters())


@pytest.mark.parametrize(
    ("weights", "backbone", "error", "text"),
    [
        ("nowhere.pt", "efficientnet_lite0", CheckpointError, "there is no such file"),
        ("package", "resnet18", ConfigError, "use hub, a file, or none"),
    ],
)
def test_weights_that_are_not_there_are_named_with_the_alternatives(weights, backbone, error, text):
    features = TimmFeatures(backbone=backbone, stages=[2], stride=8, weights=weights)
    with pytest.raises(error, match=text):
        features.load_pretrained()


def test_a_file_with_other_weights_is_refused_by_the_names_it_lacks(tmp_path):
    torch.save({"some.weight": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match="lacks weights of"):
        lite0(str(tmp_path / "other.pt")).load_pretrained()


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 3982999\n"


def cut(content: bytes) -> bytes:
    return content[:-100]


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda _: LFS, "is a note of Git LFS"),
        (lambda _: b"<html><body>Sign in</body></html>", "is a web page"),
        (lambda _: b"", "is empty"),
        (cut, r"is cut short or damaged|can't be read as plain weights"),
    ],
)
def test_a_weights_file_that_was_not_downloaded_whole_is_named(tmp_path, suffix, change, said):
    file = tmp_path / f"lite0{suffix}"
    weights = {name: weight.contiguous() for name, weight in package_weights("efficientnet_lite0").items()}
    torch.save(weights, file) if suffix == ".pt" else save_file(weights, file)
    file.write_bytes(change(file.read_bytes()))
    with pytest.raises(CheckpointError, match=said) as error:
        lite0(str(file)).load_pretrained()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"state_dict": {}}, "holds more than weights by name, for example state_dict"),
        ([1], "holds a list, not weights by name"),
    ],
)
def test_a_file_that_holds_something_else_is_named(tmp_path, content, said):
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match=said):
        lite0(str(tmp_path / "other.pt")).load_pretrained()


def test_weights_of_another_size_are_named(tmp_path):
    weights = package_weights("efficientnet_lite0")
    weights["conv_stem.weight"] = weights["conv_stem.weight"][:16].clone()
    torch.save(weights, tmp_path / "wide.pt")
    with pytest.raises(
        CheckpointError, match=r"1 weights of another size than .*: \[16, 3, 3, 3\] in place of \[32, 3"
    ):
        lite0(str(tmp_path / "wide.pt")).load_pretrained()


def test_a_weights_file_can_not_run_code(tmp_path):
    class Attack:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "executed"),)

    (tmp_path / "attack.pt").write_bytes(pickle.dumps(Attack()))
    with pytest.raises(CheckpointError, match="can't be read as plain weights"):
        lite0(str(tmp_path / "attack.pt")).load_pretrained()
    assert not (tmp_path / "executed").exists()


def test_a_weights_file_by_its_path_gives_what_it_holds(tmp_path):
    torch.save(package_weights("efficientnet_lite0"), tmp_path / "lite0.pt")
    from_file, from_package = lite0(str(tmp_path / "lite0.pt")), lite0("package")
    from_file.load_pretrained()
    from_package.load_pretrained()
    assert torch.equal(from_file.maps(frames(1)), from_package.maps(frames(1)))


def test_an_unknown_backbone_is_named_with_its_neighbours():
    with pytest.raises(ConfigError, match="efficientnet_lite0"):
        TimmFeatures(backbone="efficientnet_light0", stages=[2], stride=8, weights="none")


def test_after_calibration_every_channel_has_mean_0_and_deviation_1():
    features = lite0("package")
    features.load_pretrained()
    batches = [frames(4, seed=seed) for seed in range(3)]
    features.calibrate(batches)
    seen = features(torch.cat(batches))
    torch.testing.assert_close(seen.mean((0, 2, 3)), torch.zeros(features.channels), atol=1e-4, rtol=0)
    torch.testing.assert_close(seen.std((0, 2, 3)), torch.ones(features.channels), atol=1e-3, rtol=0)


def test_a_vision_transformer_is_built_without_network_and_takes_any_multiple_of_its_patch(monkeypatch):
    def refuse(*_, **__):
        raise OSError("no network here")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    features = TimmFeatures(backbone="vit_small_patch14_reg4_dinov2.lvd142m", stages=[11], stride=14, weights="none")
    assert features(frames(1, 28, 42)).shape == (1, 384, 2, 3)


def test_levels_of_several_strides_join_at_the_finest():
    features = TimmFeatures(backbone="efficientnet_lite0", stages=[2, 3], stride=8, weights="none")
    assert features(frames(1)).shape == (1, 40 + 112, 6, 8)


def test_pixel_features_are_trained_patches():
    features = PixelFeatures(channels=5, stride=8)
    features.load_pretrained()
    features.calibrate([frames(1)])
    out = features(frames(2))
    assert out.shape == (2, 5, 6, 8)
    out.square().mean().backward()
    assert all(weight.grad is not None for weight in features.parameters())


def test_cached_maps_standardise_to_the_features_themselves():
    features = lite0("package")
    features.load_pretrained()
    features.calibrate([frames(4)])
    maps = CachedMaps(features)(frames(3).numpy())
    assert maps.dtype == np.float16 and maps.shape == (3, features.channels, 6, 8)
    torch.testing.assert_close(features.standardise(torch.from_numpy(maps)), features(frames(3)), atol=0.02, rtol=0.01)


def test_the_fingerprint_of_cached_maps_follows_weights_stages_and_name_but_not_statistics():
    plain, loaded, deeper = (
        lite0(),
        lite0("package"),
        TimmFeatures(backbone="efficientnet_lite0", stages=[1, 2], stride=8, weights="package"),
    )
    for features in (loaded, deeper):
        features.load_pretrained()
    fingerprint = CachedMaps(loaded).fingerprint
    loaded.calibrate([frames(2)])
    assert CachedMaps(loaded).fingerprint == fingerprint
    assert len({fingerprint, CachedMaps(plain).fingerprint, CachedMaps(deeper).fingerprint}) == 3


def test_trained_features_can_not_be_cached():
    with pytest.raises(ConfigError, match=r"data\.cache=frames"):
        CachedMaps(PixelFeatures(channels=5, stride=8))
