"""Planners: from what the car sees (Scene) to a trajectory; and two that are told the future, to compare with."""
