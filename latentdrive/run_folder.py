"""A run's folder and its voice: every verb's config, log, metrics and last words live here.

`config.yaml` (composed and resolved) · `log.txt` · `metrics.json` · TensorBoard events · `checkpoint/`, as far as the verb makes
them. Sits beside checkpoint.py in the import order.
"""

import json
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from latentdrive.checkpoint import commit
from latentdrive.config import Config, to_yaml
from latentdrive.files import write_atomic

CONFIG, LOG, METRICS, CHECKPOINT, RESUME = "config.yaml", "log.txt", "metrics.json", "checkpoint", "resume"
Item = TypeVar("Item")


class RunFolder:
    """The folder of one run. `say` prints and logs; `metrics` writes numbers; `finish` says where things are and what is next.

    config.yaml always belongs to the numbers and the saved state beside it: a command that is refused, or a dry run, leaves
    the one of an earlier run as it was. writes: false in the processes of a run but one, which writes for all.
    """

    def __init__(self, cfg: Config, *, verb: str, writes: bool = True) -> None:
        self.path, self.verb, self.writes, self.started = Path(cfg.out), verb, writes, time.time()
        self.commit = commit()  # of the code that is running: files may change while it does
        if writes:
            self.path.mkdir(parents=True, exist_ok=True)
        self.console = Console(highlight=False, soft_wrap=True)
        self.command, self._node, self._begun = cfg.command, cfg._node, bool(cfg._node.get("dry_run"))

    @property
    def seconds(self) -> float:
        """How long the run has taken so far."""
        return time.time() - self.started

    def go_on(self, seconds: float) -> None:
        """Go on with a run that had taken so many seconds when it was interrupted."""
        self.started -= seconds

    def begin_anew(self) -> None:
        """Remove the numbers of an earlier run: from now on the folder holds the state of this one."""
        if self.writes:
            (self.path / METRICS).unlink(missing_ok=True)
        self._write_config()

    def say(self, text: str) -> None:
        """One line for the user and for log.txt. The first one begins the run: verbs speak once all keys have been read."""
        self.console.print(text, markup=False)
        if not self.writes:
            return
        with (self.path / LOG).open("a", encoding="utf-8") as log:
            log.write(f"{time.strftime('%H:%M:%S')} {text}\n")
        if not self._begun and not self._holds_results():
            self._write_config()
        self._begun = True

    def metrics(self, numbers: dict[str, Any]) -> None:
        """Write metrics.json: verb, command, commit, seconds, and the numbers; and the configuration that they come from."""
        self._write_config()
        content = {
            "verb": self.verb, "command": self.command, "commit": self.commit,
            "seconds": round(self.seconds, 1), **numbers,
        }  # fmt: skip
        self.write(METRICS, json.dumps(content, indent=1, default=float) + "\n")

    def numbers(self) -> dict[str, Any] | None:
        """What `metrics` wrote when a run came to its end here; None before."""
        file = self.path / METRICS
        return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None

    def write(self, name: str, text: str) -> None:
        """Write a file of the run as a whole, or leave it to the process that writes. Raises DiskFull."""
        if self.writes:
            write_atomic(self.path / name, lambda path: path.write_text(text, encoding="utf-8"))

    def finish(self, result: str | Path, then: str) -> None:
        """Last words: where the result is and what to type next."""
        self.say(f"Done in {self.seconds:.0f} s. Result: {result}")
        self.say(f"Next: {then}")

    def _holds_results(self) -> bool:
        """Numbers, or a saved state to resume from."""
        return (self.path / METRICS).is_file() or any((self.path / RESUME).glob("*.ckpt"))

    def _write_config(self) -> None:
        self.write(CONFIG, to_yaml(self._node))


def progress_bar(what: str) -> Progress:
    """A bar that shows count, time passed and time left."""
    columns = [TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn()]
    return Progress(*columns, transient=False)


def progress(items: Iterable[Item], *, what: str, total: int | None = None) -> Iterator[Item]:
    """Iterate with a bar."""
    total = len(items) if total is None and hasattr(items, "__len__") else total
    with progress_bar(what) as bar:
        task = bar.add_task(what, total=total)
        for item in items:
            yield item
            bar.advance(task)
