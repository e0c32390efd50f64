"""The command line: the first one or two words name a verb, the rest are Hydra overrides.

Importing this file imports neither torch nor Hydra; a verb's module is imported when it is called.
"""

import difflib
import importlib
import sys

VERBS = {  # verb: (module, configuration, what it does)
    "train codebook": ("latentdrive.commands.train", "train_codebook", "learn latent actions from driving video"),
    "train teacher": ("latentdrive.commands.train", "train_teacher", "teach a Qwen2.5-VL to predict them"),
    "distill": ("latentdrive.commands.train", "distill", "distil the teacher's stored predictions into a student"),
    "label": ("latentdrive.commands.label", "label", "write a latent store with a codebook, teacher or student"),
    "report": ("latentdrive.commands.report", "report", "one HTML file about finished runs"),
    "demo": ("latentdrive.commands.demo", "demo", "the whole walk on the built-in world, minutes on a CPU"),
    "doctor": ("latentdrive.commands.doctor", "doctor", "what is there, what is missing, what to type next"),
    "world": ("latentdrive.commands.world", "world", "write driving clips of the built-in world"),
}
USAGE = "usage: latentdrive VERB [key=value ...] [-m] [--cfg job] [--help]"


def main(arguments: list[str] | None = None) -> None:
    """Run one verb; exit status 0 done, 1 a named error, 2 an unknown verb."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(overview())
        return
    verb = next((v for v in (" ".join(arguments[:2]), arguments[0]) if v in VERBS), None)
    if verb is None:
        words = " ".join(arguments[:2]) if arguments[0] == "train" else arguments[0]
        near = difflib.get_close_matches(words, VERBS, 1, cutoff=0.4)
        print(
            f"latentdrive: unknown verb {words!r}" + (f"; did you mean {near[0]!r}?" if near else ""), file=sys.stderr
        )
        print(overview(), file=sys.stderr)
        raise SystemExit(2)
    overrides = arguments[len(verb.split()) :]
    if verb == "report":
        overrides = _runs_override(overrides)
    run_verb(verb, overrides)


def overview() -> str:
    """The verbs in the order of the walk, one line each."""
    width = max(map(len, VERBS))
    return "\n".join([USAGE, "", *(f"  {verb:<{width}}  {text}" for verb, (_, _, text) in VERBS.items())])


def run_verb(verb: str, overrides: list[str]) -> None:
    """Compose the verb's configuration with Hydra and run its command."""
    import hydra
    from omegaconf import OmegaConf, errors

    from latentdrive.config import Config, configs_folder, references
    from latentdrive.errors import LatentDriveError

    module, name, _ = VERBS[verb]

    def job(composed) -> None:
        try:
            cfg = Config(OmegaConf.to_container(composed, resolve=True))
            cfg.mark_read(references(OmegaConf.to_container(composed, resolve=False)) | {"paths"})
            importlib.import_module(module).run(cfg)
        except (LatentDriveError, errors.OmegaConfBaseException) as error:
            print(f"latentdrive {verb}: {error}", file=sys.stderr)
            raise SystemExit(1) from None

    sys.argv = [f"latentdrive {verb}", *overrides]
    hydra.main(version_base="1.3", config_path=str(configs_folder()), config_name=name)(job)()


def _runs_override(arguments: list[str]) -> list[str]:
    """`report runs/a runs/b key=value` → `runs=[runs/a,runs/b] key=value`."""
    bare = [a for a in arguments if "=" not in a and not a.startswith("-")]
    rest = [a for a in arguments if a not in bare]
    return rest + ([f"runs=[{','.join(bare)}]"] if bare else [])
