"""Sensors of the built-in world: cameras, LiDAR, and the scenery and vehicles that they see."""
