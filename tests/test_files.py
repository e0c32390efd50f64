"""Archives of arrays: read whole, or refused with one error, whichever byte is wrong."""

from pathlib import Path

import numpy as np
import pytest

from latentdrive.files import read_arrays

ARRAYS = {"times": np.arange(50.0), "key": np.array("k"), "boxes": np.zeros((3, 4), np.uint8)}


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_a_cut_or_altered_archive_is_a_value_error_and_never_another_content(write, tmp_path: Path):
    path = tmp_path / "a.npz"
    write(path, **ARRAYS)
    whole = path.read_bytes()
    assert {name: array.tolist() for name, array in read_arrays(path).items()} == {
        name: array.tolist() for name, array in ARRAYS.items()
    }
    cut = [whole[:length] for length in range(0, len(whole), 11)]
    altered = [whole[:at] + bytes([whole[at] ^ 0x80]) + whole[at + 1 :] for at in range(0, len(whole), 3)]
    refused = 0
    for damaged in cut + altered:
        path.write_bytes(damaged)
        try:
            content = read_arrays(path)
        except ValueError as error:
            assert "no intact archive" in str(error)
            refused += 1
        else:  # the byte is part of a name, or is never read
            assert all(np.array_equal(array, ARRAYS[name]) for name, array in content.items() if name in ARRAYS)
    assert refused > len(cut)


def test_a_missing_archive_is_an_os_error(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        read_arrays(tmp_path / "a.npz")
