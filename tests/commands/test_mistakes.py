"""What a person gets wrong at the command line, and what is said: a sentence with the place and the remedy.

Every row is a command as it is typed in a folder with a few files, and words that must be said about it. No
row shows a traceback, and none leaves anything behind.
"""

import errno
import shlex
from pathlib import Path

import pytest

from latentdrive import __version__, backbones, cli, run_folder
from latentdrive.places import FILE, VARIABLE
from tests.support.command import TINY, video, write_clips

SMALL = "features=pixels model.width=16 model.heads=2"
GPU = "train codebook " + SMALL + " trainer.accelerator=gpu"

MISTAKES = [
    # What is not key=value
    ("train codebook --data=world", "--data=world is no flag; did you mean data=world?"),
    ("train codebook data world", "data is no key=value; did you mean data=world?"),
    ("doctor data = world", "did you mean data=world, without spaces"),
    ("doctor data:world", "did you mean data=world?"),
    ("doctor -x", "-x is no flag; the flags are -m, --cfg job"),
    ("label runs/a/checkpoint", "runs/a/checkpoint is no key=value: every word"),
    ("doctor =5", "=5 has no key"),
    # Keys and options
    ("label features=pixels", "unknown key features: this command does not take features=...; --help shows"),
    ("train codebook data.widht=3", "unknown key data.widht; did you mean data.width?"),
    ("train codebook data=video data.pth=x", "unknown key data.pth; did you mean data.path?"),
    ("train codebook data=vidoe", "data=vidoe: there is no such option, data may be comma2k19", "mean data=video?"),
    (f"train codebook {SMALL} +colour=blue", "nothing reads colour: remove it"),
    (f"train codebook {SMALL} +data.pth=x", "has no argument pth; did you mean path?"),
    ("train codebook +data=video", "data is chosen already: write data=OPTION"),
    ("train codebook codebook=null", "takes the name of one of its options; --help lists them"),
    ("train codebook data.path='a b(c'", "data.path=a b(c can't be read as key=value", "data.path=\"'a b(c'\""),
    ("train codebook data.path=a,b", "data.path=a,b holds a comma: a list is data.path=[a,b]"),
    ("train codebook data.path='${nokey}'", "refers to nokey, which is not in the configuration"),
    ("train codebook ~data", "model.height refers to data.height"),
    # Values
    ("train codebook data=video", "data.path has no value: give it on the command line, as data.path=..."),
    ("train codebook data.path=", "data.path= is empty, perhaps because a variable of the shell is not set"),
    (f"train codebook {SMALL} batches.batch_size=four", "batches.batch_size=four: expected a whole number"),
    (f"train codebook {SMALL} seed=abc", "seed=abc: expected a whole number"),
    ("world processes=two", "processes=two: expected a whole number"),
    ("label model=x stride_s=half", "stride_s=half: expected a number"),
    ("label model=x parts=train", "parts=train: expected a list, as in parts=[train]"),
    ("evaluate limit=few", "limit=few: expected a whole number, at least 1 or null"),
    ("evaluate limit=-1", "limit=-1: expected a whole number, at least 1 or null"),
    ("label model=x stride_s=0", "stride_s=0: expected a number, more than 0"),
    ("evaluate human=maybe", "human=maybe: expected true or false"),
    ("run source=video", "a video is played through a bundle"),
    ("evaluate scorer=pdms", "scorer=pdms is unknown: choose one of pdms_v1.1"),
    ("world out=2026", "out=2026: expected text; for the text 2026 write out=\"'2026'\""),
    ("label model=5", "model=5: expected text"),
    ("train codebook features=pixels model.width=15 model.heads=2", "model: no Codebook can be built", "divisible by"),
    (f"train codebook {SMALL} trainer.precision=33", "trainer: no Trainer can be built from these values"),
    ("TINY batches.batch_size=0", "batches.batch_size=0: expected a whole number, at least 1"),
    ("TINY batches.workers=-1", "batches.workers=-1: expected a whole number, at least 0"),
    # The machine
    (GPU, "trainer.accelerator=gpu trainer.devices=auto: this machine can't train like that (No supported gpu"),
    ("label model=x device=cuda", "device=cuda can't be used here", "set device=cpu"),
    ("evaluate device=gpu9", "device=gpu9 can't be used here"),
    # Files and folders
    (f"train codebook {SMALL} data.path=gone", "/gone/train does not exist. Give a video"),
    ("label model=gone", "gone is no folder; a checkpoint is a folder with model.safetensors"),
    ("label model=loop", "loop is no folder"),
    ("train teacher latents=gone", "gone/train is no latent store", "latentdrive label model=FOLDER"),
    ("evaluate", "no split 'test': looked for data/navsim/splits/test.yaml", "data.splits=FOLDER"),
    ("world world=tiny path=file", "file/train/card.json can't be written", "a file stands where a folder is needed"),
    ("world out=file", "file can't be written (File exists): a file stands where a folder is needed"),
    ("world out=loop", "loop can't be written (File exists)", "move it, or name another folder"),
    ("world paths.runs=file", "a file stands where a folder is needed"),
    ("report gone", "gone is not a run folder: it does not exist"),
    ("report empty", "empty is not a run folder: it holds no config.yaml with a verb"),
    ("report loop", "loop is not a run folder"),
    ("report", "report needs at least one run, for example"),
    ("report compare=a", "compare=a: expected the folders of two evaluations"),
    ("convert navsim_checkpoint=file", "file can't be read as a checkpoint"),
]  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A folder with clips, a file, an empty folder, and a link to itself."""
    home = tmp_path_factory.mktemp("home")
    write_clips(home / "clips")
    (home / "file").write_text("no pickle")
    (home / "empty").mkdir()
    (home / "loop").symlink_to("loop")
    return home


def said(command: str, capsys, *, status: int = 1) -> str:
    """What a command that must fail says at its end."""
    with pytest.raises(SystemExit) as stopped:
        cli.main(shlex.split(command))
    told = capsys.readouterr().err
    assert stopped.value.code == status and "Traceback" not in told
    assert len(told.splitlines()) <= 3 and len(told) < 900, told
    return told


def files(folder: Path) -> set[Path]:
    return set(folder.rglob("*")) - set(folder.glob("cache/**/*"))


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake[0])
def test_a_mistake_is_named_in_a_sentence_and_leaves_nothing(mistake, home, monkeypatch, capsys):
    command, *words = mistake
    monkeypatch.chdir(home)
    before = files(home)
    if command.startswith("TINY"):
        command = shlex.join(["train", "codebook", *video(home / "clips"), *TINY, *command.split()[1:], "out=made/out"])
        told = said(command, capsys)
    else:
        told = said(command if "out=" in command or "paths" in command else f"{command} out=made/out", capsys)
    assert told.startswith(f"latentdrive {' '.join(command.split()[: 2 if command.startswith('train') else 1])}: ")
    assert [word for word in words if word not in told] == []
    assert files(home) == before


@pytest.mark.parametrize("command", ["trian codebook", "codebook", "train", "-m train codebook"])
def test_what_is_no_verb_gets_the_list_of_verbs(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(command.split())
    assert stopped.value.code == 2 and "unknown verb" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--version"], ["world", "--version"]])
def test_the_version_is_told(words, capsys):
    cli.main(words)
    assert capsys.readouterr().out == f"latentdrive {__version__}\n"


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_a_folder_that_can_not_be_written_is_named(number, home, monkeypatch, capsys):
    mkdir = Path.mkdir

    def refuse(path: Path, *words, **more) -> None:
        if "made" in path.parts:
            raise OSError(number, "refused", str(path))
        mkdir(path, *words, **more)

    monkeypatch.chdir(home)
    monkeypatch.setattr(Path, "mkdir", refuse)
    told = said("world world=tiny out=made/out", capsys)
    assert "made/out can't be written" in told and "name a" in told


def test_weights_that_are_neither_here_nor_reachable_are_said_in_a_sentence(home, monkeypatch, capsys):
    def offline(*_, **__) -> None:
        raise OSError("We couldn't connect to the hub\nto load the files\n" + "and more\n" * 100)

    create = backbones.timm.create_model
    monkeypatch.setattr(
        backbones.timm, "create_model", lambda *a, **k: offline() if k.get("pretrained") else create(*a, **k)
    )
    monkeypatch.chdir(home)
    words = [*video(home / "clips"), *TINY, "features=efficientnet_lite0", "model.features.weights=hub", "out=made/out"]
    words.remove("features=pixels"), words.remove("model.features.channels=8")
    told = said(shlex.join(["train", "codebook", *words]), capsys)
    assert "the weights of efficientnet_lite0 are neither here nor can they be downloaded (OSError: We couldn't" in told


def test_doctor_looks_at_the_machine_where_the_data_have_no_place(home, monkeypatch, capsys):
    monkeypatch.chdir(home)
    with pytest.raises(SystemExit):
        cli.main(["doctor", "data=video"])
    told = capsys.readouterr()
    assert "CPU cores" in told.out and "data.path has no value" in told.err


@pytest.mark.parametrize("path", ["gone", "loop"])
def test_doctor_keeps_what_it_found_where_the_data_are_gone(path, home, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(home)
    told = said(f"doctor data=video data.path={path} out={tmp_path}/run", capsys)
    assert f"/{path} does not exist" in told
    assert f"/{path} does not exist" in (tmp_path / "run" / run_folder.METRICS).read_text()


def test_a_refusal_leaves_no_folder_where_runs_lie_by_default(home, monkeypatch, capsys):
    monkeypatch.chdir(home)
    before = files(home)
    said("evaluate", capsys)
    assert files(home) == before


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("paths: [", f"{FILE} can't be read as YAML"),
        ("nonsense: 3", f"{FILE}: unknown key 'nonsense'"),
        ("paths: {runs: 7}", f"{FILE}: paths.runs: expected a folder, found 7"),
        (None, f"{FILE} in this folder is no file, or a link to none"),
    ],
)
def test_a_broken_file_of_places_is_named(content, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(VARIABLE, raising=False)
    (tmp_path / FILE).mkdir() if content is None else (tmp_path / FILE).write_text(content)
    assert words in said("doctor", capsys)


def test_a_place_that_is_a_folder_where_a_file_is_expected(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    assert f"{VARIABLE}={str(tmp_path)[:20]}" in said("doctor", capsys)


def test_an_empty_variable_of_the_environment_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LATENTDRIVE_RUNS", "")
    assert "paths.runs= is empty" in said("world", capsys)


def test_report_leaves_out_what_is_no_run_and_names_it(home, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(home)
    run = tmp_path / "run"
    run.mkdir()
    (run / run_folder.CONFIG).write_text("verb: label\n")
    cli.main(["report", str(run), "empty", "file", "loop/*", f"out={tmp_path}/page", "dry_run=true"])
    told = capsys.readouterr().out
    assert "left out, as no run lies there: empty, file, loop/*" in told and "1 run: " in told


def test_what_the_reader_of_a_pipe_does_not_want_is_no_mistake(latentdrive, tmp_path):
    import subprocess
    import sys

    code = "import sys; from latentdrive import cli; sys.stdout.write('x' * 10**6); cli.main(['--help'])"
    piped = subprocess.run(
        ["bash", "-c", f'{sys.executable} -c "{code}" | head -c 1'], capture_output=True, text=True, timeout=120
    )
    assert piped.stderr == ""
