"""The folder of a run, and what the run says on the terminal.

The folder holds `config.yaml` (composed and resolved), `log.txt`, `metrics.json`, TensorBoard
events and `checkpoint/`, as far as the verb makes them.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from latentdrive.checkpoint import commit
from latentdrive.config import Config, to_yaml
from latentdrive.errors import ConfigError, LatentDriveError
from latentdrive.files import write_atomic
from latentdrive.locks import one_writer
from latentdrive.plain_files import as_json, read_json, read_yaml
from latentdrive.writing import append_line

CONFIG, LOG, METRICS, CHECKPOINT, RESUME = "config.yaml", "log.txt", "metrics.json", "checkpoint", "resume"
Item = TypeVar("Item")


class RunFolder:
    """The folder of one run. `say` prints and logs, `metrics` writes numbers, `finish` says what to
    type next.

    `with RunFolder(cfg, verb=...) as folder:` holds the folder for as long as the block runs. Raises InUse
    where another process writes there, and ConfigError where the folder holds a run of another verb.

    config.yaml always belongs to the numbers and the saved state beside it: a command that is
    refused, or a dry run, leaves the config.yaml of an earlier run as it was. writes: if a run has
    several processes, true in one of them alone.
    """

    def __init__(self, cfg: Config, *, verb: str, writes: bool = True) -> None:
        self.path, self.verb, self.writes, self.started = Path(cfg.out), verb, writes, time.time()
        self.commit = commit()  # asked at the start, because the files may change while the run goes on
        self._held, self._before = ExitStack(), set[str]()  # names that lay in the folder when it was taken
        self.console = Console(highlight=False, soft_wrap=True)
        self.command, self._config = cfg.command, cfg.snapshot()
        self._begun = bool(self._config.get("dry_run"))  # a dry run writes no configuration

    def __enter__(self) -> "RunFolder":
        if self.writes:
            with ExitStack() as held:
                held.enter_context(one_writer(self.path))
                self._require_own_verb()
                self._before = set(os.listdir(self.path))
                self._held = held.pop_all()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        with self._held:
            if self.writes and isinstance(error, LatentDriveError | OSError):
                self._take_back_words()

    @property
    def seconds(self) -> float:
        """How long the run has taken so far."""
        return time.time() - self.started

    def go_on(self, seconds: float) -> None:
        """Continue a run that had taken this many seconds when it was interrupted."""
        self.started -= seconds

    def begin_anew(self) -> None:
        """Remove the numbers of an earlier run. From now on the folder holds the state of this run."""
        if self.writes:
            (self.path / METRICS).unlink(missing_ok=True)
        self._write_config()

    def say(self, text: str) -> None:
        """Print a line and append it to log.txt; inside another run, only log it.

        The first line begins the run and writes config.yaml, so a verb must have read all its keys
        before.
        """
        if not _INSIDE.get():
            self.console.print(text, markup=False)
        if not self.writes:
            return
        append_line(self.path / LOG, f"{time.strftime('%H:%M:%S')} {text}")
        if not self._begun and not self._holds_results():
            self._write_config()
        self._begun = True

    def metrics(self, numbers: dict[str, Any]) -> None:
        """Write the numbers to metrics.json, with verb, command, commit and seconds; and config.yaml beside it."""
        self._write_config()
        content = {
            "verb": self.verb,
            "command": self.command,
            "commit": self.commit,
            "seconds": round(self.seconds, 1),
            **numbers,
        }
        self.write(METRICS, as_json(content, default=float))

    def numbers(self) -> dict[str, Any] | None:
        """What `metrics` wrote at the end of a run in this folder; None if no run has ended, or the file is damaged."""
        return _content(self.path / METRICS, read_json)

    def write(self, name: str, text: str) -> None:
        """Write a file of the run atomically, if this process is the one that writes. Raises DiskFull."""
        if self.writes:
            write_atomic(self.path / name, lambda path: path.write_text(text, encoding="utf-8"))

    def finish(self, result: str | Path, then: str) -> None:
        """Say where the result is and what to type next."""
        self.say(f"Done in {self.seconds:.0f} s. Result: {result}")
        self.say(f"Next: {then}")

    def _require_own_verb(self) -> None:
        """Raise ConfigError where another verb has written here: its configuration and numbers would be lost."""
        for content in (self.numbers(), _content(self.path / CONFIG, read_yaml)):
            verb = (content or {}).get("verb", self.verb)
            if _typed(verb) != _typed(self.verb):
                raise ConfigError(
                    f"out={self.path} holds a run of `{_typed(verb)}`, and `{_typed(self.verb)}` would write over it: "
                    "name another folder, out=FOLDER"
                )

    def _take_back_words(self) -> None:
        """Remove the new files of a run that failed before it made anything but its configuration and log."""
        with suppress(OSError):  # what the system refuses now would hide the error that is told
            new = set(os.listdir(self.path)) - self._before
            for name in new if new <= {CONFIG, LOG} else ():
                (self.path / name).unlink()

    def _holds_results(self) -> bool:
        """Whether there are numbers, or a saved state to resume from."""
        return (self.path / METRICS).is_file() or any((self.path / RESUME).glob("*.ckpt"))

    def _write_config(self) -> None:
        self.write(CONFIG, to_yaml(self._config))


_INSIDE: ContextVar[bool] = ContextVar("inside another run", default=False)


@contextmanager
def inside_another_run() -> Iterator[None]:
    """Runs in this block are steps of another run, which speaks for them.

    They only log what they say. Their progress bars leave the terminal at their end, and are not shown
    where there is no terminal.
    """
    token = _INSIDE.set(True)
    try:
        yield
    finally:
        _INSIDE.reset(token)


def _typed(verb: Any) -> str:
    """The command that a verb of the configuration stands for."""
    return f"latentdrive {verb}".replace("_", " ")


def _content(file: Path, read: Callable[[Path], Any]) -> dict[str, Any] | None:
    """The mapping that a file holds; None where it is missing or damaged, or holds something else."""
    with suppress(FileNotFoundError, NotADirectoryError, ValueError):
        content = read(file)
        return content if isinstance(content, dict) else None
    return None


def progress_bar(what: str) -> Progress:
    """A progress bar that shows count, elapsed time and remaining time."""
    columns = [TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn()]
    console, inside = Console(), _INSIDE.get()
    return Progress(*columns, console=console, transient=inside, disable=inside and not console.is_terminal)


def progress(items: Iterable[Item], *, what: str, total: int | None = None) -> Iterator[Item]:
    """Iterate over the items with a progress bar. total: their number, if they don't know it themselves."""
    total = len(items) if total is None and isinstance(items, Sized) else total
    with progress_bar(what) as bar:
        task = bar.add_task(what, total=total)
        for item in items:
            try:
                yield item
            finally:  # whoever iterates may stop after the last item that is needed
                bar.advance(task)
