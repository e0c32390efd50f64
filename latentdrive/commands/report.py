"""`report RUNS…`: one HTML file about runs, with the dictionary of the ego codes and planners side by side; opens offline.

    latentdrive report runs/train_codebook/* runs/label/*
    latentdrive report compare=[runs/a,runs/b]

The dictionary is looked up on the run's held-out clips once and kept in the run's folder; scenes in which two planners differ are
opened again. Where clips or scenes are gone, the page says so and shows the rest.
"""

from collections.abc import Sequence
from pathlib import Path

from rich.progress import Progress

from latentdrive import checkpoint
from latentdrive.build import build
from latentdrive.codebook.judging.dictionary import Dictionary, look_up
from latentdrive.codebook.model import Codebook
from latentdrive.config import Config
from latentdrive.data.batches.clip_batches import HeldOut
from latentdrive.data.batches.windows import TransitionBatch
from latentdrive.errors import ConfigError, LatentDriveError
from latentdrive.evaluation.comparison import Comparison, compare_folders
from latentdrive.report.agreement import agreement_sections
from latentdrive.report.comparison_section import comparison_section
from latentdrive.report.dictionary_section import DictionarySection, dictionary_section
from latentdrive.report.evaluations import Evaluation, find, groups_of, read_evaluations
from latentdrive.report.gallery import gallery
from latentdrive.report.page import write_page
from latentdrive.report.planners_section import planners_section
from latentdrive.report.runs import Run, read_runs
from latentdrive.report.sections import Section, run_section
from latentdrive.run_folder import RunFolder, progress_bar

KEPT = "dictionary.npz"  # in the folder of a codebook run


class _Watched(Sequence):
    """Batches that move a bar as far as the furthest one that was asked for."""

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
    folder, damaged = RunFolder(cfg, verb=cfg.verb), []
    found = None if cfg.compare is None else _compared(cfg.compare)
    compared = [str(one) for one in cfg.compare or []]
    runs = read_runs([*cfg.runs, *compared], warn=damaged.append)
    page, title = Path(cfg.page or folder.path / "report.html"), cfg.title
    limits, shown = {"windows": cfg.windows, "examples": cfg.examples}, cfg.gallery
    then, dry_run = cfg.next, cfg.dry_run
    cfg.require_all_read()
    for line in damaged:
        folder.say(line)
    folder.say(f"{len(runs)} runs: {', '.join(one.name for one in runs)}")
    if found is not None:
        folder.say(found.sentence())
    if dry_run:
        folder.say(f"dry run: would write {page}")
        return page
    sections = _evaluations(read_evaluations(runs, warn=folder.say), found, compared, count=shown)
    for one in runs:
        dictionary, notes = _dictionary(one, folder, **limits)
        sections.append(run_section(one, dictionary, notes))
    sections += agreement_sections(runs)
    write_page(page, sections, title=title, command=folder.command)
    folder.metrics({"page": str(page), "runs": [str(one.path) for one in runs]})
    folder.finish(page, then.format(page=page))
    return page


def _compared(folders: object) -> Comparison:
    """Two evaluations, scene by scene."""
    if not isinstance(folders, list) or len(folders) != 2:
        raise ConfigError(f"compare takes two folders of evaluations: compare=[runs/a,runs/b], got {folders}")
    return compare_folders(*map(str, folders))


def _evaluations(
    evaluations: list[Evaluation], found: Comparison | None, compared: list[str], *, count: int
) -> list[Section]:
    """Planners side by side where there are several, then the two that are to be compared, each with its gallery."""
    pair = [find(evaluations, folder) for folder in compared]
    sections = []
    for group in groups_of(evaluations) if len(evaluations) > 1 else []:
        rivals, shown = group.rivals(), None
        if rivals is not None and set(names := [one.name for one in rivals]) != {one.name for one in pair if one}:
            kind = "the best two here" if any(one.marks for one in rivals) else "the best two that see what a car sees"
            shown = gallery(*rivals, count=count, why=f"{names[0]} and {names[1]} are {kind}.")
        sections.append(planners_section(group, shown))
    if found is not None:
        both = all(pair)
        shown = gallery(*pair, count=count, why="These two were to be compared.") if both else None
        sections.append(comparison_section(found, shown))
    return sections


def _dictionary(
    found: Run, folder: RunFolder, *, windows: int, examples: int
) -> tuple[DictionarySection | None, list[str]]:
    """The dictionary of a finished codebook run, and what stands in its way otherwise."""
    if found.verb != "train codebook" or not found.finished:
        return None, []
    try:
        known = _look_up(found, folder, windows=windows, examples=examples)
        return dictionary_section(known, scale_known="scale-free" not in str(found.written.get("data"))), []
    except LatentDriveError as error:
        folder.say(f"{found.name}: no dictionary of codes: {error}")
        return None, [f"The dictionary of codes is missing: {error}"]


def _look_up(found: Run, folder: RunFolder, *, windows: int, examples: int) -> Dictionary:
    kept, fingerprint = found.path / KEPT, checkpoint.read_card(found.checkpoint).fingerprint
    if kept.is_file():
        known = Dictionary.load(kept)
        if known.codebook_id == fingerprint and known.examples.shape[1] == examples:
            return known
    folder.say(f"{found.name}: looking codes up in held-out clips")
    model, _ = checkpoint.load(found.checkpoint, expect=Codebook)
    settings = found.config["batches"] | {"held_out_windows": windows, "out": str(folder.path)}
    if settings["data"]["cache"] == "features":  # the dictionary shows pictures
        settings["data"] = settings["data"] | {"cache": "frames"}
    held_out = build(settings).windows_of("val", transitions=model.transitions)
    with progress_bar("looking codes up") as bar:
        known = look_up(model, _Watched(held_out, bar), examples=examples)
    known.save(kept)
    return known
