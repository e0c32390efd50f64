"""Clips that have a file each, and latent stores that label them."""

from dataclasses import replace
from pathlib import Path

from latentdrive.data.batches.labelled_clips import fingerprint_clips
from latentdrive.data.clips.file_clips import READING_VERSION
from latentdrive.data.file_contents import contents_of
from latentdrive.data.latent_store import LatentStore, LatentWriter
from tests.support.latent import MemoryClips, make_clip, make_info, make_windows


class Files(MemoryClips):
    """Clips with a file each, in a folder. Their identity names the version of the reader, as that of video does."""

    version = READING_VERSION

    def __init__(self, folder: Path, numbers: list[int]) -> None:
        super().__init__([make_clip(number) for number in numbers])
        self.folder = folder
        folder.mkdir(exist_ok=True)
        for number in numbers:
            if not (file := folder / f"clip{number}.mp4").exists():
                file.write_bytes(b"frames of clip %d" % number)

    def files(self, index: int) -> list[Path]:
        return [self.folder / f"{self.key(index)}.mp4"]

    def identity(self, index: int) -> dict:
        stat = self.files(index)[0].stat()
        return {"reader": f"Files {self.version}", "file": [str(self.folder), stat.st_size, stat.st_mtime_ns]}


def label_files(folder: Path, clips: Files, *, noting: bool = True) -> LatentStore:
    """A store of these clips. noting: what was in their files; the first stores did not."""
    numbers = [int(clip.key.removeprefix("clip")) for clip in clips.clips]
    writer = LatentWriter(folder, make_info(data=fingerprint_clips(clips)))
    contents = {clips.key(i): contents_of(clips.files(i)) for i in range(len(clips))} if noting else {}
    writer.add(replace(make_windows(numbers), contents=contents), next_clip=len(clips), unreadable=[])
    writer.finish()
    return LatentStore(folder)
