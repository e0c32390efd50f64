"""A device is what a person names it, and bfloat16 is used only where the device has it."""

from types import MappingProxyType

import pytest
import torch

from latentdrive.devices import choose_device, has_bfloat16
from latentdrive.errors import ConfigError
from latentdrive.trainer import supported_precision


def test_a_device_that_is_not_there_is_told():
    assert choose_device("cpu") == "cpu" and choose_device("auto") in ("cpu", "cuda")
    with pytest.raises(ConfigError, match="device=gpu can't be used here"):
        choose_device("gpu")


@pytest.mark.parametrize(
    ("told", "has"),
    [
        ({"avx512_bf16": True, "amx_bf16": False}, True),  # AMD since Zen 4, Intel's Cooper Lake
        ({"avx512_bf16": False, "amx_bf16": True}, True),
        ({"avx512_f": True, "avx512_bf16": False, "amx_bf16": False}, False),  # Intel's Ice Lake
        ({"neon": True, "bf16": True}, True),  # ARM
        ({"neon": True, "bf16": False}, False),
    ],
)
def test_a_processor_without_the_instructions_trains_in_32_bit(
    monkeypatch: pytest.MonkeyPatch, told: dict[str, bool], has: bool
):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: MappingProxyType(told))
    assert has_bfloat16("cpu") is has
    assert supported_precision("bf16-mixed", "cpu") == ("bf16-mixed" if has else "32-true")
    assert supported_precision("32-true", "cpu") == "32-true" and supported_precision("16-mixed", "cpu") == "16-mixed"


def test_a_pytorch_that_cannot_tell_counts_as_without(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert not has_bfloat16("cpu")
