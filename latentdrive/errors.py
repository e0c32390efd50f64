"""Every error that latentdrive raises on purpose.

The bottom of the import order. A message says where the problem is, what was expected, what came,
and what to do next. The command line prints it without a traceback and exits with status 1.
"""

import errno
from pathlib import Path


class LatentDriveError(Exception):
    """Base of all named errors; any other error that reaches the user is a bug."""

    def __str__(self) -> str:
        """The message alone. From a worker process of a loader, it arrives inside a traceback."""
        text = super().__str__()
        return text.rpartition(f".{type(self).__name__}: ")[2].strip() if text.startswith("Caught ") else text


class ConfigError(LatentDriveError):
    """A configuration value is missing, unknown, unread or impossible."""


class WrongShape(LatentDriveError):
    """Arrays that should agree in shape do not."""


class UnreadableClip(LatentDriveError):
    """One clip can't be used. Sources raise it; loaders count it and list it in `unreadable_PART.csv`.

    path: the file or folder. reason: one sentence, in the user's terms.
    """

    def __init__(self, path: str | Path, reason: str = "") -> None:
        # Loaders, and pickle before it restores path and reason, rebuild the error from its text
        # alone.
        super().__init__(f"{path}: {reason}" if reason else str(path))
        self.path = str(path)
        self.reason = reason


class TooShort(UnreadableClip):
    """A clip that can be read but is too short for a window. It is left out, and is no sign of damaged data."""


class UnreadableScene(UnreadableClip):
    """One scene can't be used, because an image, point cloud, log or map is missing or damaged."""


class UnreadableLogFile(UnreadableClip):
    """A log file can't be used, with all its scenes."""


class RefusedPickle(LatentDriveError):
    """A pickle is damaged, or asks for something that is not on the list of allowed names. Nothing of it was run."""


class MapError(LatentDriveError):
    """A map file lacks a layer or column, or a place has no map file."""


class NoScenes(LatentDriveError):
    """A scene source has no scene; the message says what was found instead."""


class TooManyUnreadable(LatentDriveError):
    """More clips are unreadable than `data.max_unreadable` allows."""


class NoClips(LatentDriveError):
    """A clip source has no clip."""


class CheckpointError(LatentDriveError):
    """A checkpoint folder is incomplete, altered, or of another kind than expected."""


class BundleRefused(LatentDriveError):
    """An exported bundle is incomplete, altered, from another version, too slow, or not like its PyTorch model."""


class StoreError(LatentDriveError):
    """A store or cache on disk is incomplete, altered, or made from something else."""


class BrokenLinearAlgebra(LatentDriveError):
    """Matrix products or inverses of this machine's numpy or torch are wrong, so no score can be trusted."""


class NoPlans(LatentDriveError):
    """No scene has a usable trajectory, so there is nothing to score and nothing to submit."""


class MixedCodebooks(LatentDriveError):
    """Codes of two different codebooks (or transition lengths) would meet."""


class Diverged(LatentDriveError):
    """The loss or a weight of a training is no finite number any more."""


class InUse(LatentDriveError):
    """Another process writes to the same folder."""


class NotWritable(LatentDriveError):
    """A file or folder can't be written, for example because the disk may only be read."""


class DiskFull(NotWritable):
    """The disk is full. Everything that was complete before is intact, and the same command resumes."""


class TooManyOpenFiles(LatentDriveError):
    """The system does not let this process open more files; the file at hand is not at fault."""


class WorkerDied(LatentDriveError):
    """A worker process was killed, or ended by itself, before its job was done."""


def reason_of(error: BaseException, *, longest: int = 300) -> str:
    """What another library's error says, on one line; PyTorch's trace of C++ calls is left out, and a long text cut."""
    text = " ".join(str(error).split("Exception raised from")[0].split())
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def out_of_files(error: Exception) -> TooManyOpenFiles | None:
    """The named error for one of the system that means that; None for any other."""
    if not isinstance(error, OSError) or error.errno not in (errno.EMFILE, errno.ENFILE):
        return None
    return TooManyOpenFiles(
        f"no more files can be opened ({error.strerror}): raise the limit, for example with `ulimit -n 8192`, lower "
        "the number of workers, or close other programs, and run the same command again"
    )


def raise_if_out_of_files(error: Exception) -> None:
    """Raise TooManyOpenFiles if `error` means that. Sources call it before they take an error for a damaged file."""
    if (named := out_of_files(error)) is not None:
        raise named from error
