"""Planners: from what the car sees (a Scene) to a trajectory, and reference planners that are told the future."""
