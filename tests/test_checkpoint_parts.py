"""The mark of classes that a checkpoint's configuration may build, and what models say about their files."""

from pathlib import Path

from latentdrive.checkpoint_parts import MARK, KeepsFiles, SpeaksCodes, checkpoint_part, is_checkpoint_part


@checkpoint_part
class Marked:
    pass


class WritesWhenBuilt(Marked):
    def __init__(self, path: str):
        Path(path).write_text("")


def test_a_subclass_does_not_inherit_the_mark():
    assert is_checkpoint_part(Marked) and not is_checkpoint_part(WritesWhenBuilt)
    assert is_checkpoint_part(checkpoint_part(type("MarkedItself", (WritesWhenBuilt,), {})))


def test_only_classes_carry_the_mark():
    def build() -> None: ...

    setattr(build, MARK, True)
    assert not is_checkpoint_part(build) and not is_checkpoint_part(Marked()) and not is_checkpoint_part("Marked")


def test_a_model_keeps_files_if_it_can_both_save_and_read_them():
    class Saves:
        def save_files(self, folder: Path) -> None: ...

    class SavesAndReads(Saves):
        @staticmethod
        def from_files(folder: Path) -> dict:
            return {}

    assert isinstance(SavesAndReads(), KeepsFiles) and not isinstance(Saves(), KeepsFiles)


def test_models_have_no_codebook_until_they_are_given_one():
    first, second = SpeaksCodes(), SpeaksCodes()
    first.codebook_id, first.former_ids = "book-a", {"codebook": ["old"]}
    assert (second.codebook_id, second.former_ids) == ("", {})
