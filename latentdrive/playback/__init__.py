"""Recorded and live video through the in-car runtime, and the annotated video of what it planned."""
