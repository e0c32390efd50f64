"""The map as the score reads it: an index of lanes, areas, and grids of polygons and lines on the device."""
