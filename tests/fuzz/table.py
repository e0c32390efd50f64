"""All readers that are fuzzed, by name."""

from tests.fuzz.clip_readers import CLIP_READERS
from tests.fuzz.harness import Reader
from tests.fuzz.model_readers import MODEL_READERS
from tests.fuzz.navsim_readers import NAVSIM_READERS
from tests.fuzz.text_readers import TEXT_READERS

ALL: tuple[Reader, ...] = (*TEXT_READERS, *NAVSIM_READERS, *CLIP_READERS, *MODEL_READERS)
READERS = {reader.name: reader for reader in ALL}
assert len(READERS) == len(ALL), "two readers have one name"
# Of these, what a run keeps for itself and makes anew where it can.
KEPT = (
    "cache ledger",
    "frame cache",
    "planner's cache",
    "resume state",
    "latent store",
    "latent store with right sums",
)
