"""The config.yaml of a run folder belongs to the numbers and the saved state beside it, whatever happens later."""

import json

import pytest

from latentdrive.config import Config, from_yaml
from latentdrive.errors import ConfigError, InUse, NotWritable
from latentdrive.run_folder import CONFIG, METRICS, RESUME, RunFolder, inside_another_run, progress


@pytest.fixture
def begin(tmp_path):
    """Opens the folder for a run with this seed."""

    def open_(seed, *, dry_run=False):
        node = {"verb": "label", "out": str(tmp_path), "seed": seed, "dry_run": dry_run}
        return RunFolder(Config(node, command=f"latentdrive label seed={seed}"), verb="label")

    return open_


def seed_in(folder):
    return from_yaml((folder / CONFIG).read_text())["seed"]


def test_a_run_writes_its_configuration_with_its_first_words(begin, tmp_path):
    folder = begin(1)
    assert not (tmp_path / CONFIG).exists()  # a key that nobody reads may still refuse the command
    folder.say("begins")
    assert seed_in(tmp_path) == 1


def test_a_run_that_is_repeated_before_anything_was_kept_is_the_new_one(begin, tmp_path):
    begin(1).say("begins")
    begin(2).say("begins")
    assert seed_in(tmp_path) == 2


@pytest.mark.parametrize("kept", [METRICS, f"{RESUME}/last.ckpt"])
def test_what_a_run_left_keeps_its_configuration_until_another_run_has_numbers(begin, tmp_path, kept):
    begin(1).say("begins")
    (tmp_path / RESUME).mkdir()
    (tmp_path / kept).touch()
    later = begin(2)
    later.say("begins, and may be refused")
    assert seed_in(tmp_path) == 1
    later.metrics({"metrics": {}})
    assert seed_in(tmp_path) == 2
    written = json.loads((tmp_path / METRICS).read_text())
    assert (written["verb"], written["command"]) == ("label", "latentdrive label seed=2")


def test_a_dry_run_writes_no_configuration(begin, tmp_path):
    begin(1, dry_run=True).say("would do")
    assert not (tmp_path / CONFIG).exists()


def test_all_that_is_said_is_logged(begin, tmp_path):
    folder = begin(1)
    folder.say("[one]")
    folder.finish("here", "there")
    lines = [line[9:] for line in (tmp_path / "log.txt").read_text().splitlines()]
    assert lines[0] == "[one]" and lines[1].endswith("Result: here") and lines[2] == "Next: there"


def test_progress_gives_every_item():
    assert list(progress(iter("abc"), what="letters", total=3)) == ["a", "b", "c"]


def test_a_run_inside_another_one_only_logs(begin, tmp_path, capsys):
    with inside_another_run():
        begin(1).say("hidden")
        assert list(progress("abc", what="letters")) == ["a", "b", "c"]
    assert capsys.readouterr().out == "" and "hidden" in (tmp_path / "log.txt").read_text()
    begin(1).say("shown")
    assert "shown" in capsys.readouterr().out


def test_a_bar_reaches_its_end_where_nobody_asks_for_more_than_the_last_item(capsys):
    shown = progress(iter("abcdef"), what="letters", total=3)
    assert [next(shown) for _ in range(3)] == ["a", "b", "c"]
    shown.close()
    assert "3/3" in capsys.readouterr().out


def begun(tmp_path, verb):
    return RunFolder(Config({"verb": verb, "out": str(tmp_path / "run")}, command=f"latentdrive {verb}"), verb=verb)


@pytest.mark.parametrize("only", ["", CONFIG, METRICS])
def test_a_run_of_another_verb_is_never_written_over(tmp_path, only):
    with begun(tmp_path, "train_codebook") as folder:
        folder.say("begins")
        folder.metrics({"metrics": {"a": 1.0}})
    for name in {CONFIG, METRICS} - {only} if only else ():
        (tmp_path / "run" / name).unlink()
    before = {path: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    words = r"run holds a run of `latentdrive train codebook`, and `latentdrive label` would write over it.*out=FOLDER"
    with pytest.raises(ConfigError, match=words), begun(tmp_path, "label"):
        pytest.fail("two verbs write into one folder")
    assert {path: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before
    with begun(tmp_path, "train_codebook"):
        pass


def test_numbers_that_say_no_verb_keep_nobody_out(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / METRICS).write_text('{"metrics": {}}')
    (tmp_path / "run" / CONFIG).write_text("- no\n- mapping\n")
    with begun(tmp_path, "label"):
        pass


def test_two_runs_in_one_folder_are_refused_as_long_as_the_first_one_runs(tmp_path):
    with begun(tmp_path, "label"), pytest.raises(InUse, match="run is being written by"), begun(tmp_path, "label"):
        pytest.fail("two runs write into one folder")
    with begun(tmp_path, "label"):
        pass


def test_a_command_that_fails_before_it_made_anything_leaves_no_folder(tmp_path):
    with pytest.raises(ConfigError), begun(tmp_path, "label"):
        raise ConfigError("an unknown key")
    assert not list(tmp_path.iterdir())


def test_a_run_in_a_folder_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "run").write_text("a file")
    with pytest.raises(NotWritable, match=r"run can't be written.*a file stands where a folder is needed"):
        begun(tmp_path, "label").__enter__()


def test_a_run_that_fails_after_its_first_words_takes_back_those_alone(tmp_path):
    with pytest.raises(ConfigError), begun(tmp_path, "label") as folder:
        folder.say("begins")
        raise ConfigError("an option that does not fit")
    assert not list(tmp_path.iterdir())
    with pytest.raises(ConfigError), begun(tmp_path, "label") as folder:
        folder.say("begins")
        folder.write("scores.csv", "made")
        raise ConfigError("something later")
    assert {path.name for path in (tmp_path / "run").iterdir()} >= {CONFIG, "log.txt", "scores.csv"}


def test_a_run_that_is_refused_takes_nothing_from_the_one_that_writes(tmp_path):
    with begun(tmp_path, "label") as folder:
        folder.say("begins")
        with pytest.raises(InUse), begun(tmp_path, "label"):
            pytest.fail("two runs write into one folder")
        assert (tmp_path / "run" / CONFIG).is_file() and "begins" in (tmp_path / "run" / "log.txt").read_text()
