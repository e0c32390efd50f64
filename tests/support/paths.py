"""Where things lie in a checkout, for tests that read them or start other processes."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOOLS, CHECKPOINTS = ROOT / "tools", ROOT / "checkpoints"
SHARED = (
    ROOT.parent / "shared"
)  # devkit answers and recorded data; not part of the repository, tests skip where it is missing
DEVKIT_FILE = ROOT / "latentdrive" / "integrations" / "navsim_devkit.py"
