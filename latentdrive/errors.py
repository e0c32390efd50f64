"""Every error that latentdrive raises on purpose.

The bottom of the import order. A message says where, what was expected, what came, and what to do next; the command line
prints it without a traceback and exits with status 1.
"""

import errno
from pathlib import Path


class LatentDriveError(Exception):
    """Base of all named errors; anything else that reaches the user is a bug."""

    def __str__(self) -> str:
        """One sentence; from a worker process of a loader it arrives inside a traceback."""
        text = super().__str__()
        return text.rpartition(f".{type(self).__name__}: ")[2].strip() if text.startswith("Caught ") else text


class ConfigError(LatentDriveError):
    """A configuration value is missing, unknown, unread or impossible."""


class WrongShape(LatentDriveError):
    """Arrays that should agree in shape do not."""


class UnreadableClip(LatentDriveError):
    """One clip can't be used. Sources raise it; loaders count it and name it in `unreadable_PART.csv`.

    path: the file or folder. reason: one sentence, in the user's terms.
    """

    def __init__(self, path: str | Path, reason: str = "") -> None:
        # A loader (and pickle, before it restores path and reason) builds it anew from its text alone.
        super().__init__(f"{path}: {reason}" if reason else str(path))
        self.path = str(path)
        self.reason = reason


class TooShort(UnreadableClip):
    """A clip that can be read but holds no window: it is left out, and is no sign of damaged data."""


class UnreadableScene(UnreadableClip):
    """One scene can't be used: a missing or damaged image, point cloud, log or map. Counted and named as clips are."""


class UnreadableLogFile(UnreadableClip):
    """A log file can't be used, with everything in it."""


class RefusedPickle(LatentDriveError):
    """A pickle asks for something that is not on the allow-list, or is damaged; nothing of it was run."""


class MapError(LatentDriveError):
    """A map file lacks a layer or column, or a place has no map."""


class NoScenes(LatentDriveError):
    """A scene source holds nothing to work on; its text says what was found instead."""


class TooManyUnreadable(LatentDriveError):
    """More clips are unreadable than `data.max_unreadable` allows."""


class NoClips(LatentDriveError):
    """A data source holds nothing to work on."""


class CheckpointError(LatentDriveError):
    """A checkpoint folder is incomplete, altered, or of another kind than expected."""


class StoreError(LatentDriveError):
    """A latent store or a cache on disk is incomplete, altered, or made by something else."""


class MixedCodebooks(LatentDriveError):
    """Codes of two different codebooks (or transition lengths) would meet."""


class DiskFull(LatentDriveError):
    """The disk filled up; what was complete before is intact, and the same command resumes."""


class TooManyOpenFiles(LatentDriveError):
    """The system lets this process open no more files; nothing is wrong with the file at hand."""


class WorkerDied(LatentDriveError):
    """A worker process was killed, or ended by itself, before its job was done."""


def raise_if_out_of_files(error: Exception) -> None:
    """Raise TooManyOpenFiles if that is what `error` says. Sources call it before they take an error for a damaged file."""
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        raise TooManyOpenFiles(
            f"no more files can be opened ({error.strerror}): raise the limit, for example with `ulimit -n 8192`, lower the "
            "number of workers, or close other programs, and run the same command again"
        ) from error
