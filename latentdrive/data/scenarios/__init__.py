"""Recorded traffic in ScenarioNet form: tracks and lanes without images."""
