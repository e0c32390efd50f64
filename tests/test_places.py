"""Where the data lie, said once in a file: what is read, what comes first, and what is refused."""

from pathlib import Path

import pytest

from latentdrive.config import Config, compose
from latentdrive.errors import ConfigError
from latentdrive.places import FILE, FIRST_LINE, check_savable, read_places, save_places


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with NAVSIM data in `big`, whose splits and maps lie elsewhere, and other data in `small`."""
    monkeypatch.chdir(tmp_path)
    for name in ("LATENTDRIVE_PATHS", "LATENTDRIVE_DATA", "LATENTDRIVE_RUNS", "LATENTDRIVE_STORES"):
        monkeypatch.delenv(name, raising=False)
    for name in ("big", "splits", "maps", "small"):
        (tmp_path / name).mkdir()
    return tmp_path


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


BIG = "navsim: {path: big, splits: splits, maps: maps, split: {train: mine_train, val: mine_val, test: null}}\n"


def where(cfg: Config) -> tuple:
    return cfg.data.path, cfg.data.splits, cfg.data.scenes.maps.root, tuple(cfg.data.split.plain().values())


def test_without_a_file_the_defaults_hold(here):
    assert where(compose("evaluate", [])) == (
        "data/navsim",
        "data/navsim/splits",
        "data/navsim/maps",
        ("train", "val", "test"),
    )


def test_a_short_command_composes_what_the_long_one_does(here):
    long = ["data.path=big", "data.splits=splits", "data.scenes.maps.root=maps", "data.split.train=mine_train"]
    long = [word.replace("=", f"={here}/") for word in long[:3]] + long[3:]
    long += ["data.split.val=mine_val", "data.split.test=null", f"paths.stores={here}/s", "out=x"]
    typed = compose("evaluate", long)
    write(here / FILE, f"paths: {{stores: s}}\n{BIG}")
    short = compose("evaluate", ["out=x"])
    assert short.plain() == typed.plain()
    assert short.data_words == "data=navsim"  # hints at the next command stay short


def test_what_is_typed_comes_before_the_environment_and_that_before_the_file(here, monkeypatch):
    write(here / FILE, "paths: {data: file, runs: file}\n")
    monkeypatch.setenv("LATENTDRIVE_DATA", "environment")
    cfg = compose("report", [])
    assert (cfg.paths.data, cfg.paths.runs, cfg.paths.stores) == ("environment", str(here / "file"), "stores")
    assert compose("report", ["paths.data=typed"]).paths.data == "typed"


def test_splits_and_maps_belong_to_the_data_that_the_file_names(here):
    write(here / FILE, BIG)
    assert where(compose("evaluate", ["data.path=small"])) == (
        "small",
        "small/splits",
        "small/maps",
        ("train", "val", "test"),
    )
    assert compose("evaluate", [f"data.path={here / 'big'}"]).data.splits == str(here / "splits")


def test_another_file_is_named_by_the_environment_and_its_folders_are_relative_to_it(here, monkeypatch):
    write(here / "home/mine.yaml", "navsim: {path: data}\npaths: {runs: ~/runs}\n")
    (here / "home/data").mkdir()
    monkeypatch.setenv("LATENTDRIVE_PATHS", "home/mine.yaml")
    monkeypatch.setenv("HOME", "/home/me")
    cfg = compose("evaluate", [])
    assert (cfg.data.path, cfg.paths.runs) == (str(here / "home/data"), "/home/me/runs")
    monkeypatch.setenv("LATENTDRIVE_PATHS", "home/none.yaml")
    with pytest.raises(ConfigError, match=r"LATENTDRIVE_PATHS=home/none.yaml: there is no such file"):
        compose("evaluate", [])


def test_a_folder_that_is_gone_is_named_in_one_sentence(here):
    write(here / FILE, BIG.replace("maps: maps", "maps: elsewhere"))
    with pytest.raises(
        ConfigError, match=r"^latentdrive.yaml: navsim.maps: there is no folder /\S+/elsewhere; mount it[^\n]*$"
    ):
        compose("evaluate", [])
    compose("evaluate", ["data.path=small"])  # nobody asks for it
    compose("report", [])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("navsim: {pth: big}\n", "unknown key 'navsim.pth'; did you mean navsim.path?"),
        ("navsim: {path: 3}\n", "navsim.path: expected a folder, found 3"),
        ("navsim: {path: null}\n", "navsim.path: expected a folder, found None"),
        ("just text\n", "unknown key 'just text'; the keys are"),
        ("navsim: [\n", "can't be read as YAML"),
        ("navsim: !!python/object/apply:os.getcwd []\n", "can't be read as YAML"),
        ("navsim: {path: '/a/${oc.env:HOME}'}\n", "navsim.path: the value '/a/${oc.env:HOME}' holds ${"),
        ("navsim: {split: {val: '???'}}\n", "navsim.split.val: the value '???' is ???"),
        ('paths: {runs: "/a\\0b"}\n', "paths.runs: the value '/a\\x00b' holds a character that can't be printed"),
        ('paths: {runs: "a\\nb"}\n', "holds a character that can't be printed"),
        ('paths: {runs: "\\ud800"}\n', "invalid Unicode character"),
        (f"paths: {{runs: {'x' * 5000}}}\n", "xxx... has 5000 characters, more than 1000"),
        (f"{'x' * 900}: 1\n", "xxx...; the keys are"),
        (f"paths: {{runs: 0x{'f' * 9000}}}\n", "expected a folder, found a very long int"),
        ("paths: {runs: 2020-99-99}\n", "can't be read as YAML: month must be in 1..12"),
        ("paths: {runs: !!bool perhaps}\n", "can't be read as YAML: 'perhaps'"),
        ("paths: {runs: !!int _}\n", "can't be read as YAML"),
        ("paths: {runs: !!timestamp now}\n", "can't be read as YAML"),
        ("paths: {runs: ~nosuchuser/x}\n", "paths.runs: ~nosuchuser/x: this machine knows no such user's home folder"),
        ("paths: &a {runs: x}\nnavsim: *a\n", "line 2 holds the YAML alias *a: write the value itself"),
        ("paths: " + "[" * 900 + "\n", "line 1 is nested deeper than 3 levels"),
        ("# long\n" * 10_000, "is larger than 64 kB"),
    ],
)
def test_a_mistake_in_the_file_is_named(here, text, message):
    write(here / FILE, text)
    with pytest.raises(ConfigError) as error:
        read_places(here / FILE)
    text = str(error.value)
    assert message in text and str(here / FILE) in text and "\n" not in text and len(text) < 500


@pytest.mark.parametrize(
    "text",
    ["paths: {runs: 2020-99-99}\n", "navsim: [\n", "navsim: {path: ~nosuchuser/x}\n", "paths: {runs: '${seed}'}\n"],
)
def test_a_command_says_what_is_wrong_with_the_file_in_one_sentence(here, text):
    write(here / FILE, text)
    with pytest.raises(ConfigError, match=r"^latentdrive\.yaml[^\n]*$"):
        compose("evaluate", [])


def test_names_that_can_be_no_folder_are_as_good_as_none(here, monkeypatch):
    write(here / FILE, f"navsim: {{path: {'x' * 900}}}\n")
    with pytest.raises(ConfigError, match=r"navsim\.path: there is no folder /\S+/x{900}; mount it"):
        compose("evaluate", [])
    write(here / FILE, BIG)
    assert compose("evaluate", ["data.path='~nosuchuser/x'"]).data.splits == "~nosuchuser/x/splits"
    for name in ("~nosuchuser/x", "y" * 5000):
        monkeypatch.setenv("LATENTDRIVE_PATHS", name)
        with pytest.raises(ConfigError, match=r"^LATENTDRIVE_PATHS=[^\n]{1,80}: there is no such file"):
            compose("evaluate", [])


def test_saving_keeps_what_the_file_says_about_other_data_and_tells_what_changes(here):
    file = here / FILE
    assert save_places(file, {"paths.data": "/d", "navsim.path": "/a", "navsim.split.test": None}) == []
    assert save_places(file, {"navhard.path": "/h"}) == []
    changes = save_places(file, {"navsim.path": "/b"})
    assert changes == ["navsim.path was /a, is now /b", "navsim.split.test was None, is now not given"]
    assert read_places(file) == {"paths.data": "/d", "navhard.path": "/h", "navsim.path": "/b"}
    assert file.read_text().startswith(FIRST_LINE)


def test_folders_relative_to_a_file_elsewhere_stay_the_same_however_often_it_is_saved(here):
    write(here / "s/p.yaml", f"{FIRST_LINE}\npaths: {{stores: ../hard, runs: runs}}\n")
    for _ in range(2):
        assert save_places(Path("s/p.yaml"), {"navsim.path": "/a"}) == []
    places = read_places(Path("s/p.yaml"))
    assert Path(places["paths.stores"]).resolve() == here / "hard" and places["paths.runs"] == str(here / "s/runs")


@pytest.mark.parametrize("name", ["note/p.yaml", "note/deep/p.yaml", "/proc/p.yaml", f"{'x' * 300}.yaml", "a\0b"])
def test_a_place_that_cannot_be_written_is_said_in_one_sentence(here, name):
    write(here / "note", "a file")
    for save in (check_savable, save_places):
        with pytest.raises(ConfigError, match=r"^save=[^\n]* can't be written: [^\n]+; name another file$"):
            save(Path(name), {"navsim.path": "/b"})


def test_a_check_leaves_nothing_behind_and_an_unsafe_value_is_not_written(here):
    before = sorted(here.iterdir())
    check_savable(Path("new/p.yaml"), {"navsim.path": "/b"})
    with pytest.raises(ConfigError, match=r"navsim\.path: the value '/\$\{a\}' holds \$\{"):
        save_places(Path("p.yaml"), {"navsim.path": "/${a}"})
    assert sorted(here.iterdir()) == before


def test_a_file_that_doctor_did_not_write_stays_as_it_is(here):
    write(here / FILE, f"# my own notes\n{BIG}")
    with pytest.raises(ConfigError, match=r"did not write this file, so it stays as it is.*navsim.path: /b"):
        save_places(here / FILE, {"navsim.path": "/b"})
    assert (here / FILE).read_text().startswith("# my own notes")
    with pytest.raises(ConfigError, match="stays as it is"):
        save_places(here / "big", {"navsim.path": "/b"})
