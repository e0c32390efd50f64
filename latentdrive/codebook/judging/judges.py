"""The judges of a trained codebook, as training/judges in the configuration names them."""

from itertools import islice

from latentdrive.codebook.batches import CodebookBatches
from latentdrive.codebook.judging.evaluation import code, reader_agreement
from latentdrive.codebook.judging.leakage import check_truth, measure
from latentdrive.codebook.judging.transplant import train_reader, transplant
from latentdrive.codebook.losses import CodebookLoss
from latentdrive.codebook.model import Codebook


class HeldOutJudge:
    """On held-out windows: what shuffled and zeroed codes cost, which codes are used, and whether the reader agrees."""

    def prepare(self, model: Codebook, batches: CodebookBatches) -> None:
        """Any data can be judged."""

    def __call__(self, model: Codebook, batches: CodebookBatches, loss: CodebookLoss) -> dict[str, float]:
        """`held_out/` numbers of `Coded.summary`, and reader_agreement where there are environment codes."""
        block = batches.data.block_s
        frames = None if block is None else round(block * batches.data.rate_hz)
        windows = batches.watch(batches.validation_batches(), what="held-out windows")
        coded = code(
            model,
            windows,
            features=loss.features,
            pixels=loss.pixels,
            drive=batches.held_out.clips.drive,
            block_frames=frames,
        )
        numbers = {f"held_out/{name}": value for name, value in coded.summary().items()}
        if model.environment_slots:
            windows = batches.watch(batches.validation_batches(), what="reader against encoder")
            numbers["held_out/reader_agreement"] = reader_agreement(model, windows)
        return numbers


class ProbeJudge:
    """On the probe part, where the data set has one: the leakage matrix, and transplanted codes.

    windows: most windows that the probes are fitted to and tested on. reader_steps: training steps of
    the motion reader that judges transplants. seed: of the probes and the motion reader.
    """

    def __init__(self, *, windows: int, reader_steps: int, seed: int) -> None:
        self.windows, self.reader_steps, self.seed = windows, reader_steps, seed

    def prepare(self, model: Codebook, batches: CodebookBatches) -> None:
        """Raise ConfigError where the truth of the probe part is over another time than the codebook's transition."""
        if batches.data.has("probe"):
            check_truth(batches.windows_of("probe", transitions=1).clips, model.transition_s)

    def __call__(self, model: Codebook, batches: CodebookBatches, loss: CodebookLoss) -> dict[str, float]:
        """`probe/` numbers: costs of other codes, the leakage matrix and the transplants."""
        if not batches.data.has("probe"):
            return {}
        probes = batches.windows_of("probe", transitions=1, most=self.windows)
        leakage = measure(model, probes.clips, probes, seed=self.seed, watch=batches.watch)
        examples = islice(batches.train_batches(0), self.reader_steps)
        examples = batches.watch(examples, what="motion reader", total=self.reader_steps)
        reader = train_reader(model, examples, steps=self.reader_steps, seed=self.seed)
        windows = batches.windows_of("probe", transitions=1)
        watched = batches.watch(windows, what="probe windows")
        coded = code(model, watched, features=loss.features, pixels=loss.pixels, drive=windows.clips.drive)
        moved = transplant(model, reader, batches.watch(windows, what="transplants"))
        numbers = coded.summary() | leakage.matrix() | moved.summary()
        return {f"probe/{name}": value for name, value in numbers.items()}
