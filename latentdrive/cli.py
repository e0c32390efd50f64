"""The command line: the first one or two words name a verb, the other words are Hydra overrides.

Importing this module imports neither torch nor Hydra. The module of a verb is imported when the
verb is called.
"""

import difflib
import importlib
import io
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

VERBS = {  # verb: (module, name of the configuration, what it does)
    "train codebook": ("latentdrive.commands.train", "train_codebook", "learn latent actions from driving video"),
    "train teacher": ("latentdrive.commands.train", "train_teacher", "teach a Qwen2.5-VL to predict them"),
    "distill": ("latentdrive.commands.train", "distill", "distil the teacher's stored predictions into a student"),
    "train planner": ("latentdrive.commands.train", "train_planner", "train a planner, with or without embeddings"),
    "convert": ("latentdrive.commands.convert", "convert", "turn NAVSIM's published weights into a checkpoint"),
    "label": ("latentdrive.commands.label", "label", "write a latent store with a codebook, teacher or student"),
    "evaluate": ("latentdrive.commands.evaluate", "evaluate", "score a planner on a split, with NAVSIM's own score"),
    "export": ("latentdrive.commands.export", "export", "write a planner as a bundle, the folder that a car runs"),
    "compare-backends": (
        "latentdrive.commands.compare_backends",
        "compare-backends",
        "bundles side by side: drift, score and latency of every format and precision",
    ),
    "bench": ("latentdrive.commands.bench", "bench", "how long a planner or bundle takes, stage by stage"),
    "drive": ("latentdrive.commands.drive", "drive", "let a planner drive in closed loop among reacting traffic"),
    "run": ("latentdrive.commands.run", "run", "play video through a bundle, or plan for AlpaSim and CARLA"),
    "report": ("latentdrive.commands.report", "report", "write one HTML file about finished runs"),
    "demo": ("latentdrive.commands.demo", "demo", "run the whole walk on the built-in world, minutes on a CPU"),
    "doctor": ("latentdrive.commands.doctor", "doctor", "say what is there, what is missing, what to type next"),
    "world": ("latentdrive.commands.world", "world", "write driving clips of the built-in world"),
}
USAGE = "usage: latentdrive VERB [key=value ...] [-m] [--cfg job] [--help] [--version]"


def main(arguments: list[str] | None = None) -> None:
    """Run one verb. The exit status is 0 if it is done, 1 for a named error, 2 for an unknown verb."""
    arguments = sys.argv[1:] if arguments is None else arguments
    _print_any_text()
    try:
        _main(arguments)
    except BrokenPipeError:  # who reads the output has closed it, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python would complain once more when it ends
        raise SystemExit(1) from None


def _main(arguments: list[str]) -> None:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(overview())
        return
    if "--version" in arguments:
        from latentdrive import __version__

        print(f"latentdrive {__version__}")
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
    if verb in ("evaluate", "drive", "run", "export", "bench"):
        overrides = [word for override in overrides for word in _planner_override(override)]
    if verb in ("bench", "compare-backends", "evaluate", "drive"):
        overrides = [word for override in overrides for word in _bundle_override(verb, override)]
    if verb == "export":
        overrides = [_alone_override(word) for word in overrides]
    run_verb(verb, overrides)


def _print_any_text() -> None:
    """Print names that are no UTF-8, or that the terminal's encoding does not have, with escapes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def overview() -> str:
    """One line for each verb, in the order of the walk."""
    width = max(map(len, VERBS))
    return "\n".join([USAGE, "", *(f"  {verb:<{width}}  {text}" for verb, (_, _, text) in VERBS.items())])


def run_verb(verb: str, overrides: list[str]) -> None:
    """Compose the verb's configuration with Hydra and run its command."""
    _, name, about = VERBS[verb]
    if {"-h", "--help"} & set(overrides):
        from latentdrive.verb_help import help_text

        print(help_text(verb, name, about))
        return
    os.environ["HYDRA_FULL_ERROR"] = "1"  # we catch the errors, and say those that a user can cause in one sentence
    with _named_errors(verb, overrides):
        import hydra

        from latentdrive.config import configs_folder, register_resolvers
        from latentdrive.overrides import check_words

        check_words(overrides)
        register_resolvers()
        sys.argv = [sys.argv[0], *overrides]  # argv[0] stays, because Lightning starts it again on several devices
        hydra.main(version_base="1.3", config_path=str(configs_folder()), config_name=name)(
            lambda composed: _job(verb, overrides, composed)
        )()


def _job(verb: str, overrides: list[str], composed: Any) -> None:
    """Run the command once. In a sweep (-m) every combination is a run of its own, with a folder of its own."""
    with _named_errors(verb, overrides):  # Hydra would print a line of its own before an error that it sees
        from hydra.core.hydra_config import HydraConfig
        from hydra.types import RunMode

        from latentdrive import foreign_warnings
        from latentdrive.config import read_composed
        from latentdrive.explain import foreign_errors

        foreign_warnings.silence()
        module, _, _ = VERBS[verb]
        hydra_config = HydraConfig.get()
        out = composed.out
        if hydra_config.mode == RunMode.MULTIRUN:
            composed.out = f"{out}/{hydra_config.job.num}"
        try:
            cfg = read_composed(composed, list(hydra_config.overrides.task))
        except foreign_errors():
            if verb == "doctor":  # the place of the data is not given; this machine is there all the same
                importlib.import_module(module).say_machine()
            raise
        try:
            importlib.import_module(module).run(cfg)
        except KeyboardInterrupt:
            again = [] if any(word.startswith("out=") for word in overrides) else [f"out={out}"]
            command = shlex.join(["latentdrive", *verb.split(), *overrides, *again])
            _fail(verb, f"interrupted; what is complete is kept. To go on: {command}", status=130)


@contextmanager
def _named_errors(verb: str, overrides: list[str]) -> Iterator[None]:
    """End the program with one sentence for every error that a person or the machine can cause."""
    try:
        yield
    except KeyboardInterrupt:
        _fail(verb, "interrupted before anything was made", status=130)
    except Exception as error:
        if (text := _sentence(error, VERBS[verb][1], overrides)) is None:
            raise
        _fail(verb, text)


def _sentence(error: Exception, name: str, overrides: list[str]) -> str | None:
    """What to say about an error; None for one that nobody foresaw, whose traceback is shown."""
    from latentdrive.config import explained
    from latentdrive.errors import LatentDriveError
    from latentdrive.explain import foreign_errors
    from latentdrive.writing import told

    if isinstance(error, LatentDriveError):
        return str(error)
    if isinstance(error, foreign_errors()) and (text := explained(error, name, overrides)) is not None:
        return text
    if isinstance(error, RuntimeError) and str(error).startswith("Symlink loop"):  # pathlib before Python 3.13
        return f"{error}: correct the links, or name another folder"
    return told(error) if isinstance(error, OSError) else None


def _fail(verb: str, text: str, *, status: int = 1) -> None:
    print(f"latentdrive {verb}: {text}", file=sys.stderr)
    raise SystemExit(status)


def _planner_override(word: str) -> list[str]:
    """`planner=FOLDER` → `planner=checkpoint planner.folder=FOLDER`; other words are unchanged."""
    from latentdrive.overrides import quoted

    key, _, value = word.partition("=")
    folder = key == "planner" and (os.sep in value or os.path.isdir(value))
    return ["planner=checkpoint", f"planner.folder={quoted(value)}"] if folder else [word]


def _bundle_override(verb: str, word: str) -> list[str]:
    """`bundle=FOLDER` → `bundles=[FOLDER]`, or where it is planned with, `planner=bundle planner.path=FOLDER`."""
    from latentdrive.overrides import quoted

    key, _, value = word.partition("=")
    if key != "bundle":
        return [word]
    one = quoted(value)
    return ["planner=bundle", f"planner.path={one}"] if verb in ("evaluate", "drive") else [f"bundles=[{one}]"]


def _alone_override(word: str) -> str:
    """`student=FOLDER` → `alone.student=FOLDER`, because Hydra has options of this name; other words are unchanged."""
    return f"alone.{word}" if word.partition("=")[0] in ("student", "codebook", "teacher") else word


def _runs_override(arguments: list[str]) -> list[str]:
    """`report runs/a runs/b key=value` → `runs=['runs/a','runs/b'] key=value`; a word with = is a path if it exists."""
    from latentdrive.overrides import quoted

    bare = [word for word in arguments if not word.startswith("-") and ("=" not in word or os.path.exists(word))]
    rest = [word for word in arguments if word not in bare]
    return rest + ([f"runs=[{','.join(map(quoted, bare))}]"] if bare else [])
