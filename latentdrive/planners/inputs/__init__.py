"""What learned planners see and learn from: sensors, batches, targets, and caches of both."""
