"""The built-in world as a NAVSIM data set: logs, sensor blobs, maps and splits."""
