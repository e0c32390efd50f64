"""Pickles of NAVSIM and ScenarioNet, read and written without running any code in them."""
