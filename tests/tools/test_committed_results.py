"""Every committed result is known by the key of the configuration that the same commands compose today."""

import json
from pathlib import Path

import pytest
from table_rows import Run, key_of, runs_of, stored_key

from tests.support.paths import ROOT


def write_stores(run: Run) -> None:
    """Indexes of the latent stores that a result was made with; the result itself names their fingerprints."""
    latents = json.loads((ROOT / run.result).read_text(encoding="utf-8"))["evaluations"]["test"].get("latents")
    name = "codebook" if run.row == "oracle" else f"{run.row}_{run.seed}"
    for number, fingerprint in enumerate(latents["store"].split("+") if latents else ()):
        folder = Path("stores") / name / str(number)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "index.json").write_text(json.dumps({"fingerprint": fingerprint}), encoding="utf-8")


@pytest.mark.parametrize("table, path", [("planners", "data/navsim"), ("fusion", "data/navsim_bench")])
def test_a_committed_result_is_found_by_its_key(table: str, path: str, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs = list(runs_of(table, rows=None, seeds=[1], extra=[f"data.path={path}"]))
    for run in runs:
        if table == "fusion":
            write_stores(run)
    assert [run.name for run in runs if key_of(run) != stored_key(ROOT / run.result)] == []
    assert len(runs) == 6
