"""YAML and JSON files from elsewhere are read within bounds, and what exceeds them is named."""

import json
import time
from pathlib import Path

import numpy as np
import pytest

from latentdrive.config import to_yaml
from latentdrive.plain_files import as_json, read_json, read_yaml

BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "\n".join(
    f"{new}: &{new} [{','.join([f'*{old}'] * 9)}]" for old, new in zip("abcdefgh", "bcdefghi")
)


def write(folder: Path, content: str | bytes) -> Path:
    file = folder / "file.yaml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (BOMB, r"line 2 holds the YAML alias \*a: write the value itself"),
        ("a: &a 1\nb: {<<: *a}", r"line 2 holds the YAML alias \*a"),
        ("[" * 100_000, "nest"),
        ("- " * 5_000 + "x", "line 1 is nested deeper than 40 levels"),
        ("{a: " * 50 + "}" * 50, "is nested deeper than 40 levels"),
        ("x" * 16_000_001, "is larger than 16000 kB"),
        ("a: " + "1:" * 400_000 + "1", "holds a number of"),
        ("a: " + "9" * 100_000, "holds a number of"),
        (b"\xff\xfe\x00", "can't be read as YAML"),
        (b"a: \xff", "it is not UTF-8 text"),
        ("a: [1, 2", "can't be read as YAML: .* in line "),
        ("a: 2020-99-99", "can't be read as YAML: month must be in"),
        ("a: !!python/object/apply:os.system [touch x]", "can't be read as YAML: could not determine a constructor"),
        ("a: !!binary x", "can't be read as YAML"),
        ("? [1]\n: 2", "can't be read as YAML"),
    ],
    ids=range(15),
)
def test_what_is_no_plain_file_is_named_at_once(tmp_path: Path, content, reason: str):
    before = time.process_time()
    with pytest.raises(ValueError, match=reason) as raised:
        read_yaml(write(tmp_path, content))
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 700
    assert time.process_time() - before < 20  # without the bounds, minutes or no end


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("[" * 1_000_000, "is not JSON that can be read: it is nested too deeply"),
        ('{"a": ' * 1_00_000, "it is nested too deeply"),
        ('{"a": 1', "is not JSON: Expecting ',' delimiter"),
        ("9" * 100_000, "is not JSON: Exceeds the limit"),
        (b"\xff", "is not JSON: it is not UTF-8 text"),
        (" " * 16_000_001, "is larger than 16000 kB"),
    ],
    ids=range(6),
)
def test_json_is_bounded_too(tmp_path: Path, content, reason: str):
    with pytest.raises(ValueError, match=reason) as raised:
        read_json(write(tmp_path, content))
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 300


def test_what_we_write_is_read(tmp_path: Path):
    node = {"a": {"b": [1, 2.5, None, True, "text", "x" * 1000, {"c": []}]}, "ünicode": "ß"}
    assert read_yaml(write(tmp_path, to_yaml(node))) == node
    assert read_yaml(write(tmp_path, "")) is None


def test_a_file_that_is_not_there_is_no_damage(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        read_yaml(tmp_path / "none.yaml")


def test_what_we_write_is_valid_json():
    content = {"a": float("nan"), "b": [float("inf"), 1.5, np.float64("-inf"), np.float32(0.5)], "c": None}
    text = as_json(content, default=float)
    assert json.loads(text, parse_constant=pytest.fail) == {"a": None, "b": [None, 1.5, None, 0.5], "c": None}
