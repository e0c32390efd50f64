"""Commands as processes of their own that need no new import of torch: forks of this process, which has imported it.

A command has its own process group, with the workers that it starts, so that all of it can be killed at once.
"""

import contextlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

# Imported here once for all commands; none of it starts threads.
import hydra  # noqa: F401
import torch

from latentdrive import cli
from latentdrive.commands import evaluate, label, report, train, world  # noqa: F401

torch.set_num_threads(1)


@dataclass(frozen=True, kw_only=True)
class Running:
    """A command that was started. log: what it prints."""

    words: tuple[str, ...]
    pid: int
    log: Path
    since: float

    def wait(self, seconds: float | None = None) -> int | None:
        """The exit status, negative for a signal; None if it still runs after these seconds."""
        end = None if seconds is None else time.monotonic() + seconds
        while True:
            pid, status = os.waitpid(self.pid, 0 if end is None else os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            if time.monotonic() >= end:
                return None
            time.sleep(0.01)

    def kill(self) -> int | None:
        """Kill the whole group, and return the exit status."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        return self.wait(60)


def start(words: Sequence[str], folder: Path, log: Path) -> Running:
    """Start a command in a folder."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if not pid:
        _command(words, folder, log)
    with contextlib.suppress(PermissionError, ProcessLookupError):
        os.setpgid(pid, pid)  # also here: it may be killed before it has done so itself
    return Running(words=tuple(words), pid=pid, log=log, since=time.monotonic())


def _command(words: Sequence[str], folder: Path, log: Path) -> None:
    """In the new process: run the command as the shell would, and end."""
    status = 1
    try:
        with contextlib.suppress(PermissionError):
            os.setpgid(0, 0)
        said = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        os.dup2(said, 1)
        os.dup2(said, 2)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.chdir(folder)
        sys.argv = ["latentdrive", *words]
        cli.main(list(words))
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)
