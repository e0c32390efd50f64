"""Planners without sensors, and the two that are told the future: what a learned planner is compared with."""
