"""Measures of a codebook's quality: held-out loss, leakage, probes, transplants, health and the dictionary of codes."""
