"""No name is used that nothing defines.

The linter's rule for it is off, because jaxtyping writes axes as names in strings. Here it is on, and
what it says of strings is left out.
"""

import ast
import json
import subprocess
import sys
from functools import cache
from pathlib import Path

from tests.support.paths import ROOT

Place = tuple[int, int]


@cache
def strings(file: str) -> list[tuple[Place, Place]]:
    """Where the plain strings of a file begin and end: row from 1, column from 1."""
    tree = ast.parse(Path(file).read_text(encoding="utf-8"))
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    return [
        ((node.lineno, node.col_offset + 1), (node.end_lineno, node.end_col_offset + 1))
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts
    ]


def undefined(*folders: Path) -> list[str]:
    """Every undefined name in the Python files of these folders, with its place."""
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "F821", "--output-format", "json"]
    found = subprocess.run([*command, *map(str, folders)], capture_output=True, text=True, cwd=ROOT)
    names = []
    for entry in json.loads(found.stdout):
        place = entry["location"]["row"], entry["location"]["column"]
        if not any(first <= place < last for first, last in strings(entry["filename"])):
            names.append(f"{entry['filename']}:{place[0]}: {entry['message']}")
    return names


def test_every_name_is_defined() -> None:
    assert undefined(ROOT / "latentdrive", ROOT / "tools", ROOT / "tests") == []


def test_a_name_without_an_import_is_found_in_code_and_in_f_strings(tmp_path: Path) -> None:
    (tmp_path / "code.py").write_text('def f(x: "B N"):\n    return f"{counted(x)}", here\n', encoding="utf-8")
    assert [name.rpartition(": ")[2] for name in undefined(tmp_path)] == [
        "Undefined name `counted`",
        "Undefined name `here`",
    ]
