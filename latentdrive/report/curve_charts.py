"""Charts of what a training run logged over its steps, and what each logged quantity means."""

from latentdrive.report.charts import Chart, lines
from latentdrive.report.prediction_charts import guess
from latentdrive.report.runs import Run

# What a number means, by the end of its name. {codes}: the number of codes; {guess}: what guessing
# among them gives.
MEANINGS = {
    "share_of_copy": "Error of the predicted next frame; 1 is as bad as repeating the present frame. Lower is better, "
    "and with codes of another clip it should be clearly higher.",
    "agreement": "How often two readings give the same code. Higher is better.",
    "cross_entropy": "How much the true code surprises the reader, in nats. Lower is better; {guess}.",
    "commitment": "Distance of the encoder's output from the nearest code.",
    "perplexity": "How many codes are effectively used: 1 is a collapsed codebook, {codes} is even use of all.",
    "used_share": "Share of the codes that occur at all.",
    "nats": "Surprise by the true code, in nats per slot. Lower is better; {guess}.",
    "top1": "Share of slots whose most likely code is the right one.",
    "kl": "KL divergence of the student's distribution from the teacher's, in nats. 0 is a perfect copy.",
    "decoded": "Share of slots in which the student, decoding code after code, finds the teacher's code.",
    "distillation": "Divergence from the teacher, as used in training.",
    "features": "Distance of the student's hidden states from the teacher's, as used in training.",
    "regression": "Error of the ego motion that a head reads from the ego codes, if such a head is trained.",
    "loss": "The loss that training minimises.",
    "mass_outside": "Probability that the language model gives to tokens other than the codes. Lower is better.",
}
PARTS = {"train": "training", "held_out": "held-out"}  # first part of a logged name
VARIANTS = {"_shuffled": ", codes of another clip", "_first": ", first transition"}  # drawn in the same chart


def curve_charts(run: Run) -> list[Chart]:
    """One chart for each logged quantity, with training and held-out curves together; single slots
    are left out."""
    families: dict[str, dict[str, str]] = {}
    for tag in run.curves:
        part, _, stem = tag.partition("/")
        if part in PARTS and "_slot_" not in stem:
            family, variant = _family(stem)
            families.setdefault(family, {})[PARTS[part] + variant] = tag
    charts = []
    for family, tags in families.items():
        level = 1.0 if family.endswith("share_of_copy") else None
        curves = {name: run.curves[tag] for name, tag in sorted(tags.items(), reverse=True)}
        title = family.replace("/", ": ").replace("_", " ")
        charts.append(lines(title, _meaning(family, run.codes), curves, level=level))
    return charts


def _family(stem: str) -> tuple[str, str]:
    """The chart that a quantity belongs to, and the words that set it apart there."""
    family, variant = stem, ""
    for end, text in VARIANTS.items():
        if stem.endswith(end):
            family, variant = stem.removesuffix(end) + ("_of_copy" if end == "_shuffled" else ""), variant + text
    return family, variant


def _meaning(stem: str, codes: int | None) -> str:
    last = stem.rsplit("/", 1)[-1]
    text = next((text for end, text in MEANINGS.items() if last == end or last.endswith(f"_{end}")), "")
    return text.format(codes=codes or "the number of codes", guess=guess(codes))
