"""Tests really check the annotations of latentdrive's functions, with axes and without."""

from dataclasses import dataclass

import jaxtyping
import numpy as np
import pytest
import torch
from beartype.roar import BeartypeCallHintViolation
from jaxtyping import Float, TypeCheckError
from torch import Tensor

from latentdrive.boxes import corners
from latentdrive.lru_cache import LruCache
from tests.support.type_checks import check_once, has_axes

checked = jaxtyping.jaxtyped(typechecker=check_once)


@checked
def added(left: Float[Tensor, "B 2"], right: Float[Tensor, "B 2"], *, longer: bool = False) -> Float[Tensor, "B 2"]:
    return torch.cat([left, right]) if longer else left + right


@checked
def half(number: int) -> int:
    return number / 2 if number % 2 else number // 2


@checked
@dataclass(frozen=True)
class Step:
    metres: Float[Tensor, "B"]
    seconds: Float[Tensor, "B"]


def test_axes_are_compared_between_arguments():
    assert added(torch.zeros(3, 2), torch.ones(3, 2)).sum() == 6
    with pytest.raises(TypeCheckError, match="parameters"):
        added(torch.zeros(3, 2), torch.ones(4, 2))


def test_axes_are_compared_between_arguments_and_the_result():
    with pytest.raises(TypeCheckError, match="return value"):
        added(torch.zeros(3, 2), torch.ones(3, 2), longer=True)


def test_functions_without_axes_are_checked_too():
    assert half(4) == 2
    with pytest.raises(BeartypeCallHintViolation):
        half("4")
    with pytest.raises(BeartypeCallHintViolation):
        half(3)


def test_axes_are_compared_between_the_fields_of_a_dataclass():
    Step(metres=torch.zeros(3), seconds=torch.zeros(3))
    with pytest.raises(TypeCheckError):
        Step(metres=torch.zeros(3), seconds=torch.zeros(4))


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (int, False),
        (dict[str, list[int]], False),
        (Float[Tensor, "B"], True),
        (Float[Tensor, "B"] | None, True),
        (dict[str, Float[np.ndarray, "3"]], True),
        ("Step", True),
    ],
)
def test_axes_are_found_inside_other_annotations(annotation, expected: bool):
    assert has_axes(annotation) is expected


def test_the_package_is_imported_with_these_checks():
    with pytest.raises(TypeCheckError):
        corners(np.zeros((4, 2)), np.zeros((4, 2)))
    with pytest.raises(BeartypeCallHintViolation):
        LruCache("four")
