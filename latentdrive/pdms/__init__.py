"""The score: NAVSIM's PDMS and EPDMS, batched in torch, without the devkit. Knows no network."""
