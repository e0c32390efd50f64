"""NAVSIM's scores, PDMS and EPDMS, batched in torch and without the devkit. Specified in docs/pdms.md."""
