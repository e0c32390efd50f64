"""Prepared scoring scenes on disk: the store, one file for the scenes of each log, and their keys."""
