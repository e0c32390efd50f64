"""Roads of the built-in world: layouts, junctions and centrelines, and the nuPlan map that is written of them."""
