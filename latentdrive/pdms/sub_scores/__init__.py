"""The sub-scores of PDMS and EPDMS: one module for each term, and the geometry that they share."""
