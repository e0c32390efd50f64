"""The sub-scores of PDMS and EPDMS (docs/pdms.md, section 6), and the geometry that they share."""
