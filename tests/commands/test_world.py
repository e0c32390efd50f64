"""`latentdrive world` from the command line: the files it writes, and what it says."""

from pathlib import Path

SMALL = (
    "world=tiny",
    "world.drive_s=1",
    "processes=1",
    "world.splits.train.drives=1",
    "world.splits.val.drives=1",
    "world.splits.probe.drives=1",
)


def test_clips_are_written_and_the_next_command_is_named(latentdrive, tmp_path: Path):
    done = latentdrive("world", *SMALL, "path=w", "out=run")
    assert done.returncode == 0, done.stderr
    for split in ("train", "val", "probe"):
        folder = tmp_path / "w" / split
        assert len(list(folder.glob("*.mp4"))) == 1 and (folder / "card.json").is_file()
    assert "train: 1 drive, 4 frames" in done.stdout
    assert "latentdrive train codebook data=world data.path=w" in done.stdout
    assert (tmp_path / "run" / "metrics.json").is_file()


def test_a_dry_run_writes_no_drive(latentdrive, tmp_path: Path):
    done = latentdrive("world", *SMALL, "path=w", "out=run", "dry_run=true")
    assert done.returncode == 0, done.stderr
    assert "would write" in done.stdout and not (tmp_path / "w").exists()


TINY_NAVSIM = (
    "world=small",
    "processes=1",
    "world.drive_s=8",
    "world.sensors.cameras.CAM_F0.width=64",
    "world.sensors.cameras.CAM_F0.height=36",
    "world.sensors.cameras.CAM_F0.oversampling=1",
    "world.sensors.lidar.columns=40",
    "world.splits.train.drives=1",
    "world.splits.val.drives=1",
    "world.splits.test.drives=1",
    "world.splits.longtail.drives=1",
    "world.points.deviation_m=0",  # these four keep every moment of the one short drive of each split
    "world.points.hazard_before_s=8",
    "world.points.constant_velocity_at_most=1",
    "world.points.human_at_least=0",
)


def test_a_navsim_world_is_written_drawn_and_passes_the_doctor(latentdrive, tmp_path: Path):
    done = latentdrive("world", *TINY_NAVSIM, "path=n", "out=run")
    assert done.returncode == 0, done.stderr
    assert "Next: latentdrive doctor data=navsim data.path=n" in done.stdout
    assert {path.name for path in (tmp_path / "n").iterdir()} == {
        "drives",
        "maps",
        "navsim_logs",
        "sensor_blobs",
        "splits",
        "world.json",
    }
    drawn = latentdrive("world", "world=small", "preview=true", "path=n", "out=pictures")
    assert drawn.returncode == 0, drawn.stderr
    assert len(list((tmp_path / "pictures").glob("*.png"))) == 4
    looked = latentdrive("doctor", "data=navsim", "data.path=n", "out=doctor")
    assert looked.returncode == 0, looked.stderr
    assert "maps of " in looked.stdout and "lidar are there" in looked.stdout
