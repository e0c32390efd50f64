"""The map as the score reads it: an index of a place, the areas near the ego, and grids that answer
where a point lies.
"""
