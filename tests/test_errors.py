"""Named errors keep their sentence on the way out of another process."""

import pickle

import pytest
from torch.utils.data import DataLoader

from latentdrive.errors import NoClips, TooShort, UnreadableClip

ERRORS = [UnreadableClip("a b.mp4", "it is cut short: copy it"), TooShort("c.mp4", "1 frame"), NoClips("none: add one")]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_survives_pickling(error):
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error) and str(again) == str(error) and vars(again) == vars(error)


class Failing:
    def __init__(self, error: Exception) -> None:
        self.error = error

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> None:
        raise self.error


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_in_a_loaders_worker_is_raised_as_what_it_is(error):
    with pytest.raises(type(error)) as raised:
        next(iter(DataLoader(Failing(error), batch_size=None, num_workers=1)))
    assert str(raised.value) == str(error)
