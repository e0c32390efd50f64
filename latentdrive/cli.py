"""The command line: the first one or two words name a verb, the other words are Hydra overrides.

Importing this module imports neither torch nor Hydra. The module of a verb is imported when the
verb is called.
"""

import difflib
import errno
import importlib
import itertools
import os
import re
import sys
from pathlib import Path
from typing import Any

VERBS = {  # verb: (module, name of the configuration, what it does)
    "train codebook": ("latentdrive.commands.train", "train_codebook", "learn latent actions from driving video"),
    "train teacher": ("latentdrive.commands.train", "train_teacher", "teach a Qwen2.5-VL to predict them"),
    "distill": ("latentdrive.commands.train", "distill", "distil the teacher's stored predictions into a student"),
    "train planner": ("latentdrive.commands.train", "train_planner", "train a planner, with or without embeddings"),
    "convert": ("latentdrive.commands.convert", "convert", "turn NAVSIM's published weights into a checkpoint"),
    "label": ("latentdrive.commands.label", "label", "write a latent store with a codebook, teacher or student"),
    "evaluate": ("latentdrive.commands.evaluate", "evaluate", "score a planner on a split, with NAVSIM's own score"),
    "report": ("latentdrive.commands.report", "report", "write one HTML file about finished runs"),
    "demo": ("latentdrive.commands.demo", "demo", "run the whole walk on the built-in world, minutes on a CPU"),
    "doctor": ("latentdrive.commands.doctor", "doctor", "say what is there, what is missing, what to type next"),
    "world": ("latentdrive.commands.world", "world", "write driving clips of the built-in world"),
}
USAGE = "usage: latentdrive VERB [key=value ...] [-m] [--cfg job] [--help]"


def main(arguments: list[str] | None = None) -> None:
    """Run one verb. The exit status is 0 if it is done, 1 for a named error, 2 for an unknown verb."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(overview())
        return
    verb = next((v for v in (" ".join(arguments[:2]), arguments[0]) if v in VERBS), None)
    if verb is None:
        words = " ".join(arguments[:2]) if arguments[0] == "train" else arguments[0]
        near = difflib.get_close_matches(words, VERBS, 1, cutoff=0.4)
        print(
            f"latentdrive: unknown verb {words!r}" + (f"; did you mean {near[0]!r}?" if near else ""), file=sys.stderr
        )
        print(overview(), file=sys.stderr)
        raise SystemExit(2)
    overrides = arguments[len(verb.split()) :]
    if verb == "report":
        overrides = _runs_override(overrides)
    if verb == "evaluate":
        overrides = [word for override in overrides for word in _planner_override(override)]
    run_verb(verb, overrides)


def overview() -> str:
    """One line for each verb, in the order of the walk."""
    width = max(map(len, VERBS))
    return "\n".join([USAGE, "", *(f"  {verb:<{width}}  {text}" for verb, (_, _, text) in VERBS.items())])


def run_verb(verb: str, overrides: list[str]) -> None:
    """Compose the verb's configuration with Hydra and run its command."""
    if {"-h", "--help"} & set(overrides):
        print(help_text(verb))
        return
    os.environ["HYDRA_FULL_ERROR"] = "1"  # we catch the errors, and say those that a user can cause in one sentence
    import hydra

    from latentdrive.config import configs_folder, explain, foreign_errors, register_resolvers
    from latentdrive.errors import LatentDriveError

    register_resolvers()
    _, name, _ = VERBS[verb]
    sys.argv = [sys.argv[0], *overrides]  # argv[0] stays, because Lightning starts it again on several devices
    try:
        hydra.main(version_base="1.3", config_path=str(configs_folder()), config_name=name)(
            lambda composed: _job(verb, composed)
        )()
    except LatentDriveError as error:
        _fail(verb, str(error))
    except foreign_errors() as error:
        _fail(verb, explain(error, name))
    except KeyboardInterrupt:
        _fail(
            verb, "interrupted; what is complete is kept: the same command with the same out=FOLDER resumes", status=130
        )


def _job(verb: str, composed: Any) -> None:
    """Run the command once. In a sweep (-m) every combination is a run of its own, with a folder of its own."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from latentdrive import foreign_warnings
    from latentdrive.config import explain, foreign_errors, read_composed
    from latentdrive.errors import LatentDriveError

    foreign_warnings.silence()
    module, name, _ = VERBS[verb]
    hydra_config = HydraConfig.get()
    try:
        if hydra_config.mode == RunMode.MULTIRUN:
            composed.out = f"{composed.out}/{hydra_config.job.num}"
        importlib.import_module(module).run(read_composed(composed, list(hydra_config.overrides.task)))
    except LatentDriveError as error:
        _fail(verb, str(error))
    except foreign_errors() as error:
        _fail(verb, explain(error, name))
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        _fail(
            verb,
            "the disk is full; what is complete is kept: free space and repeat the command with the same out=FOLDER",
        )


def _fail(verb: str, text: str, *, status: int = 1) -> None:
    print(f"latentdrive {verb}: {text}", file=sys.stderr)
    raise SystemExit(status)


def help_text(verb: str) -> str:
    """Help for a verb, from its YAML files: what it makes and costs, its own keys, and the options of its groups."""
    from latentdrive.config import configs_folder

    folder = configs_folder()
    lines = (folder / f"{VERBS[verb][1]}.yaml").read_text(encoding="utf-8").splitlines()
    about = list(itertools.takewhile(lambda line: line.startswith("#"), lines))
    groups = [match[1] for line in lines if (match := re.match(r"  - (?:override /?)?(\w+): \S+", line))]
    keys = itertools.dropwhile(lambda line: line.startswith(("defaults:", "  - ")), lines[len(about) :])
    text = [f"latentdrive {verb}: {VERBS[verb][2]}", "", *(line.removeprefix("#").strip() for line in about), ""]
    text += ["Keys of its own (key=value; all keys with their values: --cfg job):", "", *(f"  {k}" for k in keys if k)]
    for group in groups:
        text += ["", f"{group}=..."]
        for path in sorted((folder / group).glob("*.yaml")):
            if not takes(verb, group, path):
                continue
            first = next((line for line in path.read_text(encoding="utf-8").splitlines() if not _package(line)), "")
            text.append(f"  {path.stem:<20} {first.removeprefix('#').strip()}")
    text += ["", "out=FOLDER names the run's folder; the same folder resumes. -m key=1,2 runs every combination."]
    return "\n".join(text)


def takes(verb: str, group: str, option: Path) -> bool:
    """Whether a verb takes an option, given the option's file.

    Several verbs share the groups experiment and planner; the first lines of such a file show the
    commands that take it.
    """
    if group not in ("experiment", "planner"):
        return True
    shown = rf"^# latentdrive {verb}( \S+)* {group}={option.stem}( |$)"
    return re.search(shown, option.read_text(encoding="utf-8"), re.MULTILINE) is not None


def _package(line: str) -> bool:
    return line.startswith("# @package")


def _planner_override(word: str) -> list[str]:
    """`planner=FOLDER` → `planner=checkpoint planner.folder=FOLDER`; other words are unchanged."""
    from latentdrive.overrides import quoted

    key, _, value = word.partition("=")
    folder = key == "planner" and (os.sep in value or os.path.isdir(value))
    return ["planner=checkpoint", f"planner.folder={quoted(value)}"] if folder else [word]


def _runs_override(arguments: list[str]) -> list[str]:
    """`report runs/a runs/b key=value` → `runs=['runs/a','runs/b'] key=value`; a word with = is a path if it exists."""
    from latentdrive.overrides import quoted

    bare = [word for word in arguments if not word.startswith("-") and ("=" not in word or os.path.exists(word))]
    rest = [word for word in arguments if word not in bare]
    return rest + ([f"runs=[{','.join(map(quoted, bare))}]"] if bare else [])
