"""`doctor`: what is there, what is missing, what to type next.

    latentdrive doctor data=video data.path=clips/
    latentdrive doctor data=navsim data.path=openscene save=latentdrive.yaml
    latentdrive doctor devkit=PYTHON

Looks at this machine and at the clips and scenes that a data configuration names: counts them,
reads a sample, and estimates how long all of them take. What is wrong with one part hides nothing of
the others: all is said, and then the first problem ends the command. It changes nothing but its own
run folder and the index of NAVSIM logs in data.cache_folder. With save=FILE it also writes down where
the data lie, so that later commands need not be told. With devkit=PYTHON it looks at the environment
of a NAVSIM devkit instead of at data.
"""

import importlib.metadata
import importlib.util
import os
import platform
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from latentdrive.build import build
from latentdrive.commands.clip_survey import ClipSurvey, PartSample, doubts
from latentdrive.commands.devkit_check import check_devkit
from latentdrive.commands.saved_places import activation, places_of, save, words_after_saving
from latentdrive.commands.scene_survey import SceneSurvey
from latentdrive.config import Config
from latentdrive.data.batches.transitions import WindowSpec
from latentdrive.data.clips.data_set import PARTS, DataSet
from latentdrive.errors import BrokenLinearAlgebra, ConfigError, LatentDriveError, NoClips
from latentdrive.findings import Finding, Severity, good, lacking, wrong
from latentdrive.kinds import Count
from latentdrive.pdms.linear_algebra import description, require_sound
from latentdrive.places import check_savable, places_file
from latentdrive.run_folder import RunFolder, progress

MARKS = {Severity.GOOD: "  ok ", Severity.LACKING: "  -- ", Severity.WRONG: "  !! "}
SCENES = 200  # scenes of each split whose sensor files are looked for
PACKAGES = ("torch", "torchvision", "lightning", "timm", "transformers", "av", "panda3d", "highway-env")
EXTRAS = {"export": ("onnx", "onnxruntime"), "teacher": ("peft",)}  # as in pyproject.toml


def run(cfg: Config) -> dict[str, Any]:
    """Print the findings. Returns the counts by part.

    Raises, after all findings, NoClips if there are no clips, NoScenes if there are no scenes,
    TooManyUnreadable if too many clips are unreadable, and BrokenLinearAlgebra; before them,
    ConfigError if save=FILE can't be written.
    """
    with RunFolder(cfg, verb=cfg.verb) as folder:
        return _diagnose(cfg, folder)


def _diagnose(cfg: Config, folder: RunFolder) -> dict[str, Any]:
    template, dry_run, devkit = cfg.next, cfg.dry_run, cfg.devkit
    data = build(cfg.data)
    file = _file_to_save(cfg.save)
    spec = WindowSpec(transitions=cfg.transitions, transition_s=cfg.transition_s, rate_hz=data.rate_hz)
    clips = ClipSurvey(spec, size=cfg.value("sample", Count))
    cfg.require_all_read()
    say_machine(folder.say, out=folder.path)
    if dry_run:
        return {}
    if devkit is not None:
        return _look_at_devkit(folder, devkit)
    if file is not None:
        check_savable(file, places_of(cfg, data, file))  # what is mistyped is said before the long look at the data
    folder.say(f"\nData: {data.path}")
    problems: list[LatentDriveError] = []
    samples = _survey_clips(folder, data, clips, problems)
    counts: dict[str, Any] = {part: sample.counts() for part, sample in samples.items()}
    scenes: dict[str, int] = {}
    if data.has_scenes:
        folder.say("\nScenes")
        survey = SceneSurvey(data=data, sample=SCENES, progress=progress)
        _say(folder, survey.findings(problems))
        scenes = survey.counts
    folder.metrics({"parts": counts, "scenes": scenes, "problems": [str(problem) for problem in problems]})
    if problems:
        raise problems[0]
    counts |= {"scenes": scenes} if data.has_scenes else {}
    words, before = cfg.data_words, ""
    if file is not None:
        _say(folder, map(good, save(cfg, data, file)))
        words, before = words_after_saving(cfg), activation(file)
    # Scenes without pictures teach nothing, so the next step is to get data that do.
    following = template.format(data=words) if samples else "latentdrive world world=small"
    folder.finish(folder.path if file is None else file, before + following)
    return counts


def say_machine(say: Callable[[str], None] = print, *, out: Path = Path()) -> None:
    """Say what this machine has. out: the folder whose disk is looked at."""
    say("This machine")
    for finding in _machine(out):
        say(f"{MARKS[finding.severity]}{finding.text}")


def _file_to_save(value: Any) -> Path | None:
    """The file that save=VALUE names; Hydra reads numbers, lists and truth values where a person means a name."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int | float) or value == "":
        raise ConfigError("save= expects the name of a file, such as save=latentdrive.yaml")
    return Path(os.path.expanduser(str(value)))


def _look_at_devkit(folder: RunFolder, devkit: Any) -> dict[str, Any]:
    """Say whether a devkit's environment computes right scores. Raises BrokenLinearAlgebra where it does not."""
    folder.say(f"\nThe devkit's environment: {devkit}")
    check = check_devkit(devkit)
    _say(folder, check.findings())
    folder.metrics({"devkit": check.found})
    check.require_sound()
    folder.finish(folder.path, "latentdrive doctor data=navsim")
    return {"devkit": check.found}


def _survey_clips(
    folder: RunFolder, data: DataSet, survey: ClipSurvey, problems: list[LatentDriveError]
) -> dict[str, PartSample]:
    """Say what is found about the clips of every part. What ends the command is added to `problems`."""
    samples: dict[str, PartSample] = {}
    for part in (part for part in PARTS if data.has(part)):
        try:
            clips = data.open(part)
            samples[part] = survey.sample(clips, part=part)
            _say(folder, survey.findings(part, samples[part], clips))
        except LatentDriveError as error:
            _say(folder, [_lost_part(part, error, problems)])
    try:
        if samples:
            _say(folder, [good(data.estimate(samples, features_a_frame=None))])
            _say(folder, doubts(samples, data, problems))
    except LatentDriveError as error:
        problems.append(error)
        _say(folder, [wrong(str(error))])
    return samples


def _lost_part(part: str, error: LatentDriveError, problems: list[LatentDriveError]) -> Finding:
    """A part whose clips can't be looked at. Only the training part must have clips."""
    if isinstance(error, NoClips) and part != "train":
        return lacking(f"{part}: {error}")
    if isinstance(error, NoClips):
        error = NoClips(f"{error}. Clips without a download: latentdrive world path=FOLDER")
    problems.append(error)
    return wrong(f"{part}: {error}")


def _say(folder: RunFolder, findings: Iterator[Finding] | list[Finding]) -> None:
    for finding in findings:
        folder.say(f"{MARKS[finding.severity]}{finding.text}")


def _machine(folder: Path) -> Iterator[Finding]:
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    free_gb = shutil.disk_usage(there).free / 1e9
    yield good(f"{os.cpu_count()} CPU cores, {memory_gb:.0f} GB memory, {free_gb:.0f} GB free on disk")
    for index in range(torch.cuda.device_count()):
        card = torch.cuda.get_device_properties(index)
        yield good(f"GPU {index}: {card.name}, {card.total_memory / 1e9:.0f} GB")
    if not torch.cuda.is_available():
        yield lacking("no GPU: the tiny configurations run on the CPU, the full-size ones need one")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    yield good(f"Python {platform.python_version()}, {versions}")
    for extra, modules in EXTRAS.items():
        if missing := [name for name in modules if importlib.util.find_spec(name) is None]:
            install = f"in the folder of latentdrive, pip install -e '.[{extra}]'"
            yield lacking(f"extra {extra} is not installed ({', '.join(missing)}): {install}")
        else:
            yield good(f"extra {extra}: {', '.join(modules)}")
    try:
        require_sound()
        yield good(f"linear algebra is sound: {description()}")
    except BrokenLinearAlgebra as error:
        yield wrong(str(error))
    if (places := places_file()) is not None:
        yield good(f"places of this machine: {places}")
