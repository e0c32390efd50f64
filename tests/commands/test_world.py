"""`latentdrive world` from the command line: clips, cards, and last words."""

from pathlib import Path

SMALL = (
    "world=tiny",
    "world.drive_s=1",
    "processes=1",
    "world.splits.train.drives=1",
    "world.splits.val.drives=1",
    "world.splits.probe.drives=1",
)


def test_a_world_is_written_and_says_what_to_type_next(latentdrive, tmp_path: Path):
    done = latentdrive("world", *SMALL, "path=w", "out=run")
    assert done.returncode == 0, done.stderr
    for split in ("train", "val", "probe"):
        assert (
            len(list((tmp_path / "w" / split).glob("*.mp4"))) == 1 and (tmp_path / "w" / split / "card.json").is_file()
        )
    assert "train: 1 drives, 4 frames" in done.stdout
    assert "latentdrive train codebook data=world data.path=w" in done.stdout
    assert (tmp_path / "run" / "metrics.json").is_file()


def test_a_dry_run_writes_no_drive(latentdrive, tmp_path: Path):
    done = latentdrive("world", *SMALL, "path=w", "out=run", "dry_run=true")
    assert done.returncode == 0, done.stderr
    assert "would write" in done.stdout and not (tmp_path / "w").exists()
