"""`report RUNS…`: one HTML file about runs that opens offline, with the dictionary of the ego codes
and planners side by side.

    latentdrive report runs/train_codebook/* runs/label/*
    latentdrive report compare=[runs/a,runs/b]

The dictionary is computed once, on the run's held-out clips, and kept in the run's folder. Scenes
in which two planners differ are opened again. Where clips or scenes are gone, the page says so and
shows the rest.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.progress import Progress

from latentdrive import checkpoint
from latentdrive.codebook.judging.dictionary import Dictionary, look_up
from latentdrive.codebook.model import Codebook
from latentdrive.config import Config
from latentdrive.counting import counted
from latentdrive.data.batches.clip_batches import HeldOut
from latentdrive.data.batches.transitions import TransitionBatch
from latentdrive.errors import ConfigError, LatentDriveError
from latentdrive.evaluation.comparison import Comparison, compare_folders
from latentdrive.report.agreement import agreement_sections
from latentdrive.report.comparison_section import comparison_section
from latentdrive.report.dictionary_section import DictionarySection, dictionary_section
from latentdrive.report.evaluations import Evaluation, find, groups_of, read_evaluations
from latentdrive.report.gallery import gallery
from latentdrive.report.page import write_page
from latentdrive.report.planners_section import planners_section
from latentdrive.report.run_data import RunData
from latentdrive.report.runs import Run, read_runs
from latentdrive.report.sections import Section, run_section
from latentdrive.run_folder import RunFolder, progress_bar

DICTIONARY = "dictionary.npz"  # file in the folder of a codebook run


class _WithBar(Sequence):
    """Batches that advance a progress bar to the furthest batch that was read."""

    def __init__(self, batches: HeldOut, bar: Progress) -> None:
        self.batches, self.bar = batches, bar
        self.task = bar.add_task("looking codes up", total=len(batches))

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, number: int) -> TransitionBatch:
        batch = self.batches[number]
        self.bar.update(self.task, completed=max(number + 1, self.bar.tasks[0].completed))
        return batch


def run(cfg: Config) -> Path:
    """Write report.html about the runs; returns its path."""
    with RunFolder(cfg, verb=cfg.verb) as folder:
        return _report(cfg, folder)


def _report(cfg: Config, folder: RunFolder) -> Path:
    warnings: list[str] = []
    comparison = None if cfg.compare is None else _compare(cfg.compare)
    compared = [str(path) for path in cfg.compare or []]
    runs = read_runs([*map(str, cfg.runs), *compared], warn=warnings.append)
    page, title = Path(cfg.value("page", str | None) or folder.path / "report.html"), cfg.title
    limits, scenes = {"windows": cfg.windows, "examples": cfg.examples}, cfg.gallery
    run_data = RunData(cfg.opens, caches=Path(cfg.paths.data).expanduser() / "cache")
    then, dry_run = cfg.next, cfg.dry_run
    cfg.require_all_read()
    for line in warnings:
        folder.say(line)
    folder.say(f"{counted(len(runs), 'run')}: {', '.join(run.name for run in runs)}")
    if comparison is not None:
        folder.say(comparison.sentence())
    if dry_run:
        folder.say(f"dry run: would write {page}")
        return page
    evaluations = read_evaluations(runs, warn=folder.say)
    sections = _evaluation_sections(evaluations, comparison, compared, run_data, count=scenes)
    for run in runs:
        dictionary, notes = _dictionary(run, folder, run_data, **limits)
        sections.append(run_section(run, dictionary, notes))
    sections += agreement_sections(runs, allow=run_data.allow, warn=folder.say)
    write_page(page, sections, title=title, command=folder.command)
    folder.metrics({"page": str(page), "runs": [str(run.path) for run in runs]})
    folder.finish(page, then.format(page=page))
    return page


def _compare(folders: object) -> Comparison:
    """Compare two evaluations scene by scene."""
    if not isinstance(folders, list) or len(folders) != 2:
        raise ConfigError(f"compare={folders}: expected the folders of two evaluations, as in compare=[runs/a,runs/b]")
    return compare_folders(*map(str, folders))


def _evaluation_sections(
    evaluations: list[Evaluation],
    comparison: Comparison | None,
    compared: list[str],
    run_data: RunData,
    *,
    count: int,
) -> list[Section]:
    """Planners side by side where there are several, then the comparison that was asked for, each
    with its gallery.

    compared: folders of the two evaluations of the comparison. run_data: opens what runs name. count:
    scenes in a gallery.
    """
    pair = [find(evaluations, folder) for folder in compared]
    compared_names = {evaluation.name for evaluation in pair if evaluation}
    sections = []
    for group in groups_of(evaluations) if len(evaluations) > 1 else []:
        rivals, scenes = group.rivals(), None
        if rivals is not None and {rival.name for rival in rivals} != compared_names:
            scenes = gallery(*rivals, run_data, count=count, why=_why(*rivals))
        sections.append(planners_section(group, scenes))
    if comparison is not None:
        why = "These two were compared on request."
        scenes = gallery(*pair, run_data, count=count, why=why) if all(pair) else None
        sections.append(comparison_section(comparison, scenes))
    return sections


def _why(a: Evaluation, b: Evaluation) -> str:
    """Why these two are shown in a gallery."""
    if a.marks or b.marks:
        return f"{a.name} and {b.name} are the best two here."
    return f"{a.name} and {b.name} are the best two that see only what a car sees."


def _dictionary(
    run: Run, folder: RunFolder, run_data: RunData, *, windows: int, examples: int
) -> tuple[DictionarySection | None, list[str]]:
    """The dictionary of a finished codebook run; or a note about why there is none."""
    if run.verb != "train codebook" or not run.finished:
        return None, []
    try:
        dictionary = _look_up(run, folder, run_data, windows=windows, examples=examples)
        return dictionary_section(dictionary, scale_known="scale-free" not in str(run.written.get("data"))), []
    except LatentDriveError as error:
        folder.say(f"{run.name}: no dictionary of codes: {error}")
        return None, [f"The dictionary of codes is missing: {error}"]


def _look_up(run: Run, folder: RunFolder, run_data: RunData, *, windows: int, examples: int) -> Dictionary:
    """The dictionary in the run's folder if it fits, else a new one, which is saved there."""
    file, fingerprint = run.path / DICTIONARY, checkpoint.read_card(run.checkpoint).fingerprint
    if file.is_file():
        dictionary = Dictionary.load(file)
        if dictionary.codebook_id == fingerprint and dictionary.examples.shape[1] == examples:
            return dictionary
    run_data.allow(run)
    folder.say(f"{run.name}: looking codes up in held-out clips")
    model, _ = checkpoint.load(run.checkpoint, expect=Codebook)
    batches = run.config.get("batches")
    if not isinstance(batches, Mapping) or not isinstance(batches.get("data"), Mapping):
        raise ConfigError(f"{run.path}: its configuration names no clips")
    settings = {**batches} | {"held_out_windows": windows, "out": str(folder.path)}
    if settings["data"].get("cache") == "features":  # the dictionary shows pictures
        settings["data"] = settings["data"] | {"cache": "frames"}
    held_out = run_data.build(run, settings).windows_of("val", transitions=model.transitions)
    with progress_bar("looking codes up") as bar:
        dictionary = look_up(model, _WithBar(held_out, bar), examples=examples)
    dictionary.save(file)
    return dictionary
