"""From disk to batches; no learning here."""
