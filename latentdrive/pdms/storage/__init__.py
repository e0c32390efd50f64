"""Prepared scoring scenes on disk: the store, building it, the file for the scenes of each log, and their keys."""
