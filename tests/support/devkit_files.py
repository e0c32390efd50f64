"""Where the file for the devkit's environment lies; apart from conftest.py, a name that other folders of tests have, too."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DEVKIT_FILE = ROOT / "latentdrive" / "integrations" / "navsim_devkit.py"
