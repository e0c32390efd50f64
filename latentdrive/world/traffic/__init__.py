"""Traffic of the built-in world: drivers, lights, hazards, and the simulation that records a drive."""
