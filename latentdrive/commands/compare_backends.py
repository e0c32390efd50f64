"""`compare-backends`: bundles of one checkpoint side by side.

    latentdrive compare-backends bundles='[runs/onnx/bundle,runs/int8/bundle]' data=navsim

The first bundle is what the others are compared with. Their calls are timed in turns.
"""

from pathlib import Path

from latentdrive.build import build
from latentdrive.config import Config
from latentdrive.errors import ConfigError
from latentdrive.export.bundle_planner import EnginePlanner
from latentdrive.export.comparing import compare, require_comparable, table
from latentdrive.export.sessions import open_bundle
from latentdrive.export.val_split import score_options, val_split
from latentdrive.kinds import Count
from latentdrive.run_folder import METRICS, RunFolder


def run(cfg: Config) -> Path:
    """Print and write the comparison; returns the run's folder. Raises BundleRefused for a damaged bundle."""
    with RunFolder(cfg, verb=cfg.verb) as folder:
        names, options, data = cfg.bundles, score_options(cfg), build(cfg.data)
        repeats, trust, provider = cfg.value("repeats", Count), cfg.trust, cfg.provider
        threads, dry_run = cfg.value("threads", int), cfg.dry_run
        if not names or not all(isinstance(name, str) for name in names):
            raise ConfigError("bundles= names no bundle: give a list of folders, bundles='[A,B]'")
        cfg.require_all_read()
        if dry_run:
            folder.say(f"dry run: would compare {', '.join(names)}")
            return folder.path
        engines = {name: open_bundle(name, provider=provider, threads=threads, trust=trust) for name in names}
        require_comparable(engines)
        split = val_split(data, EnginePlanner(engines[names[0]]).needs, options, folder.say)
        rows = compare(engines, split, repeats=repeats)
        for line in table(rows):
            folder.say(line)
        folder.metrics({"bundles": rows})
        folder.finish(folder.path / METRICS, f"latentdrive bench bundle={names[0]}")
        return folder.path
