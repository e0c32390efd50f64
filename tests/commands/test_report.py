"""`latentdrive report`: the dictionary is computed once and kept, and the page says what is missing."""

import shutil

import pytest

from latentdrive.codebook.judging.dictionary import Dictionary
from latentdrive.commands import report
from latentdrive.config import compose, from_yaml, to_yaml
from latentdrive.errors import ConfigError
from tests.support.command import train_codebook, write_clips


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    train_codebook(write_clips(folder / "clips"), folder / "run")
    return folder


def write(folder, *overrides):
    words = [
        f"runs=['{folder / 'run'}']",
        f"out={folder / 'report'}",
        "windows=8",
        "examples=2",
        "opens=true",
        *overrides,
    ]
    return report.run(compose("report", words)).read_text(encoding="utf-8")


def test_a_codebook_run_gets_its_dictionary_which_is_kept(trained, capsys):
    assert "What each ego code means" in write(trained)
    dictionary = Dictionary.load(trained / "run" / report.DICTIONARY)
    assert dictionary.codes == 4 and dictionary.examples.shape == (4, 2) and dictionary.known.all()
    assert "looking codes up" in capsys.readouterr().out
    write(trained)
    assert "looking codes up" not in capsys.readouterr().out
    write(trained, "examples=1")
    assert "looking codes up" in capsys.readouterr().out


def test_a_run_that_was_trained_from_cached_features_gets_its_dictionary_too(trained, tmp_path):
    shutil.copytree(trained / "run", tmp_path / "run")
    (tmp_path / "run" / report.DICTIONARY).unlink(missing_ok=True)
    file = tmp_path / "run" / "config.yaml"
    config = from_yaml(file.read_text())
    config["batches"]["data"]["cache"] = "features"
    config["batches"]["augmentation"] |= {"flip": False}
    file.write_text(to_yaml(config))
    assert "What each ego code means" in write(tmp_path)


def test_unasked_no_clip_of_a_run_is_opened(trained, capsys):
    (trained / "run" / report.DICTIONARY).unlink(missing_ok=True)
    html = write(trained, "opens=null")
    assert "What each ego code means" not in html and "opens=true allows it" in html
    assert "looking codes up" not in capsys.readouterr().out


def test_a_runs_configuration_builds_nothing_but_data_sources(trained, tmp_path):
    shutil.copytree(trained / "run", tmp_path / "run")
    (tmp_path / "run" / report.DICTIONARY).unlink(missing_ok=True)
    file = tmp_path / "run" / "config.yaml"
    config = from_yaml(file.read_text())
    pickled = tmp_path / "evil.pkl"
    pickled.write_bytes(b"cposix\nsystem\n(S'touch " + str(tmp_path / "ran").encode() + b"'\ntR.")
    config["batches"]["data"]["source"] = {
        "_target_": "lightning.fabric.utilities.cloud_io._load",
        "path_or_url": str(pickled),
        "weights_only": False,
    }
    file.write_text(to_yaml(config))
    html = write(tmp_path)
    assert "lightning.fabric.utilities.cloud_io._load is refused" in html and not (tmp_path / "ran").exists()


def test_what_is_decoded_goes_to_the_caches_of_who_reports(trained, tmp_path):
    shutil.copytree(trained / "run", tmp_path / "run")
    (tmp_path / "run" / report.DICTIONARY).unlink(missing_ok=True)
    file = tmp_path / "run" / "config.yaml"
    config = from_yaml(file.read_text())
    config["batches"]["data"] |= {"cache": "frames", "cache_folder": str(tmp_path / "theirs")}
    file.write_text(to_yaml(config))
    write(tmp_path, f"paths.data={tmp_path / 'mine'}")
    assert (tmp_path / "mine" / "cache").is_dir() and not (tmp_path / "theirs").exists()


def test_without_its_checkpoint_the_rest_is_shown_with_the_reason(trained):
    hidden = trained / "run" / "elsewhere"
    (trained / "run" / "checkpoint").rename(hidden)
    try:
        html = write(trained)
    finally:
        hidden.rename(trained / "run" / "checkpoint")
    assert "The dictionary of codes is missing:" in html and "is no folder; a checkpoint is a folder" in html
    assert "How training went" in html and "What each ego code means" not in html


def test_the_page_may_lie_anywhere(trained):
    write(trained, f"page={trained / 'shown' / 'page.html'}")
    assert (trained / "shown" / "page.html").is_file()


def test_a_dry_run_writes_no_page(trained):
    path = report.run(compose("report", [f"runs=['{trained / 'run'}']", f"out={trained / 'dry'}", "dry_run=true"]))
    assert not path.exists()


def test_without_runs_it_says_what_to_type(tmp_path):
    with pytest.raises(ConfigError, match="at least one run"):
        report.run(compose("report", [f"out={tmp_path}"]))
