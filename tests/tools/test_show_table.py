"""What a table of experiments is said to show, from made-up JSONs and by hand."""

import json
from pathlib import Path
from types import ModuleType

import pytest

SCENES = {"drives": ["x", "y"], "drive_of": [0, 0, 1, 1], "tokens": ["a", "b", "c", "d"]}


@pytest.fixture
def show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.chdir(tmp_path)
    import show_table

    write(tmp_path / "scenes_test.json", SCENES)
    return show_table


def write(path: Path, content: dict) -> None:
    folder = Path("docs/results/made")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / path.name).write_text(json.dumps(content))


def result(row: str, seed: int | None, scores: list[float], **changed) -> None:
    """The JSON of a row and seed, by hand."""
    import table_results

    test = {
        "scorer": "pdms_v1.1",
        "split": "test",
        "tokens": table_results._digest(SCENES),
        "scenes": 4,
        "drives": 2,
        "failed": 1,
        "score": sum(scores) / 4,
        "sub_scores": {"comfort": 0.5 + (seed or 0) / 10, "extended": None},
        "score_by_scene": scores,
        "sub_scores_by_scene": {},
    } | changed
    content = {"row": row, "seed": seed, "evaluations": {"test": test}}
    write(Path(f"{row}.json" if seed is None else f"{row}_seed{seed}.json"), content)


def test_seeds_are_averaged_by_scene_and_drives_are_drawn(show, capsys):
    result("net", 0, [0.0, 0.0, 0.5, 0.5])
    result("net", 1, [0.2, 0.2, 0.7, 0.7])  # drives at 0.1 and 0.6: one of four draws holds x alone, one y alone
    assert show.main(["made"]) == 0
    output = capsys.readouterr().out
    assert output == (
        "made, test: pdms_v1.1, 4 scenes of 2 drives\n\n"
        "| row | seeds | score | by seed | comfort | extended | failed |\n|---|---|---|---|---|---|---|\n"
        "| net | 0, 1 | 0.350 [0.100, 0.600] | 0.250, 0.450 | 0.550 | – | 2 |\n"
    )


def test_differences_are_paired_by_scene_and_seed(show, capsys):
    result("human", None, [1.0, 1.0, 1.0, 1.0])
    result("net", 0, [0.9, 0.9, 0.7, 0.7])
    result("net", 1, [0.7, 0.7, 0.5, 0.5])
    result("wide", 1, [0.5, 0.7, 0.9, 0.9])
    result("wide", 2, [0.0, 0.0, 0.0, 0.0])  # net has no seed 2: not paired
    assert show.main(["made", "--order", "human", "net", "wide"]) == 0
    *_, first, second = capsys.readouterr().out.splitlines()
    # Both seeds of net against the human: -0.2 in x, -0.4 in y; the seeds' means are -0.2 and -0.4, for t(1) 12.7
    # deviations.
    assert first == (
        "| net − human | -0.3000 [-0.4000, -0.2000] | 0: -0.2000, 1: -0.4000 | [-1.5745, +0.9745] "
        "| shown for these trainings only |"
    )
    # wide minus net with seed 1: -0.1 in x, +0.4 in y; mean 0.15, standard deviation of the drives 0.3536:
    # (1.96 · 0.3536 / 0.15)² = 21.3.
    assert second == (
        "| wide − net | +0.1500 [-0.1000, +0.4000] | 1: +0.1500 | – "
        "| not resolved: for these trainings it would take about 22 drives, here are 2 |"
    )
    result("steady", 0, [0.5, 0.5, 0.6, 0.6])
    result("steady", 1, [0.5, 0.5, 0.6, 0.6])
    result("other", 0, [0.2, 0.2, 0.3, 0.3], latents={"permuted": 0})
    assert show.main(["made", "--pairs", "steady,human", "steady,other"]) == 0
    output = capsys.readouterr().out
    assert (
        "| human − steady | +0.4500 [+0.4000, +0.5000] | 0: +0.4500, 1: +0.4500 | [+0.4000, +0.5000] | shown |"
        in output
    )
    assert (
        "| other − steady | -0.3000 [-0.3000, -0.3000] | 0: -0.3000 | – | shown for this one training only |" in output
    )
    assert "| other (embeddings of other scenes) | 0 |" in output
    assert show.main(["made", "--pairs", "wide,human"]) == 0
    assert "| human − wide |" in capsys.readouterr().out


def test_one_drive_has_no_interval_and_shows_nothing(show, capsys):
    scenes = SCENES | {"drives": ["x"], "drive_of": [0] * 4}
    write(Path("scenes_test.json"), scenes)
    import table_results

    same = {"tokens": table_results._digest(scenes)}
    for seed in (0, 1):
        result("a", seed, [0.0, 0.0, 0.5, 0.5], **same)
        result("b", seed, [1.0, 1.0, 1.5, 1.5], **same)
    assert show.main(["made", "--order", "a", "b"]) == 0
    output = capsys.readouterr().out
    assert "4 scenes of 1 drive\n" in output
    assert "| a | 0, 1 | 0.250 (one drive: no interval) |" in output
    assert output.splitlines()[-1] == (
        "| b − a | +1.0000 (one drive: no interval) | 0: +1.0000, 1: +1.0000 | one drive: no interval "
        "| not resolved: one drive says nothing about others |"
    )


def test_what_can_not_be_compared_is_refused(show, capsys):
    result("a", 0, [0.0] * 4)
    result("b", 1, [0.0] * 4)
    assert show.main(["made"]) == 1 and "a and b have no seed in common: 0 and 1" in capsys.readouterr().err
    assert show.main(["made", "--order", "a", "c"]) == 1 and "no result of c" in capsys.readouterr().err
    result("b", 0, [0.0] * 4, scorer="epdms_v2.2")
    assert show.main(["made"]) == 1 and "rows of several scores" in capsys.readouterr().err
    assert show.main(["made", "--order", "a"]) == 0 and capsys.readouterr()
    result("b", 0, [0.0] * 4, tokens="others")
    assert show.main(["made"]) == 1 and "was scored on other scenes than" in capsys.readouterr().err
    assert show.main(["none"]) == 1 and "run python tools/run_table.py none" in capsys.readouterr().err
