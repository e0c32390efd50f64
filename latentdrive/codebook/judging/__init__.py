"""What a codebook is worth: held-out loss, leakage, probes, transplants, health and the dictionary of codes."""
