"""Linear algebra is checked before the first score of a process, and nothing is scored where it is wrong."""

import time

import numpy as np
import pytest

from latentdrive.errors import BrokenLinearAlgebra
from latentdrive.pdms import linear_algebra, simulate
from latentdrive.pdms.linear_algebra import description, require_sound
from latentdrive.pdms.prepare import prepare_scene
from latentdrive.pdms.scorer import Scorer
from latentdrive.pdms.versions import V2, Version
from latentdrive.types import Trajectory
from tests.support.made_scenes import made_scene
from tests.support.made_truths import street_truth

STILL = Trajectory(poses=np.zeros((1, 1, 8, 3)), dt_s=0.5)


@pytest.fixture(autouse=True)
def anew():
    """As in a process that has scored nothing yet."""
    require_sound.cache_clear()
    yield
    require_sound.cache_clear()


def test_a_sound_machine_passes_once_and_fast(monkeypatch: pytest.MonkeyPatch):
    require_sound()
    monkeypatch.setattr(linear_algebra, "_of_the_plan", pytest.fail)
    require_sound()  # once a process
    monkeypatch.undo()
    durations = []
    for _ in range(5):
        require_sound.cache_clear()
        start = time.process_time()
        require_sound()
        durations.append(time.process_time() - start)
    assert min(durations) < 0.02
    assert "numpy" in description() and "torch" in description()


@pytest.mark.parametrize("wrong", [1e-3, np.nan])
def test_a_wrong_inverse_lets_nothing_be_scored_or_prepared(monkeypatch: pytest.MonkeyPatch, wrong: float):
    fit = simulate.SPEED_FIT.copy()
    fit[5] += wrong
    monkeypatch.setattr(simulate, "SPEED_FIT", fit)
    scorer = Scorer([made_scene()], version=Version.EPDMS_V2_2)
    for act in (lambda: scorer.score(STILL), lambda: prepare_scene(street_truth(), V2)):
        with pytest.raises(BrokenLinearAlgebra, match=r"a known plan gives .* expected .*OPENBLAS_CORETYPE=Haswell"):
            act()


def test_a_wrong_product_of_many_columns_is_noticed(monkeypatch: pytest.MonkeyPatch):
    class Kernel(np.ndarray):
        """A matrix whose products with many columns go wrong in the last one, as those of a faulty kernel do."""

        def __matmul__(self, other):
            product = np.asarray(self) @ np.asarray(other)
            product[..., -1] += product.shape[-1] > 1
            return product

    monkeypatch.setattr(linear_algebra, "SPEED_FIT", simulate.SPEED_FIT.view(Kernel))
    with pytest.raises(BrokenLinearAlgebra, match="a product of 64 columns is off by 1"):
        require_sound()
