"""Planners to compare learned ones with: planners without sensors, planners told the future, and recorded plans."""
