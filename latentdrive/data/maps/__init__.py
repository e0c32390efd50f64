"""nuPlan's maps: the layers of a map.gpkg as lanes, roadblocks and polygons, and the driving command they imply."""
