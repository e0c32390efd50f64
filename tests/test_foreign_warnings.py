"""Warnings of other packages are hidden, those of ours are not, and whoever asks for warnings gets them."""

import sys
import warnings

import pytest

from latentdrive import foreign_warnings


def warned(module: str) -> bool:
    """Whether a warning that this module raises is shown."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        foreign_warnings.silence()
        warnings.warn_explicit("old", FutureWarning, "file.py", 1, module=module)
    return bool(seen)


def test_only_warnings_of_other_packages_are_hidden(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "warnoptions", [])
    assert not warned("lightning.pytorch.utilities._pytree") and not warned("torch")
    assert warned("latentdrive.trainer") and warned("torchlike.model")


def test_whoever_asks_for_warnings_sees_them(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "warnoptions", ["default"])
    assert warned("lightning.pytorch.utilities._pytree")
