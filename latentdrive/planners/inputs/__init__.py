"""What learned planners see and learn from: sensors, targets, caches of both, and batches."""
