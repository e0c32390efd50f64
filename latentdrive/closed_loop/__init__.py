"""The closed loop: a planner drives in the built-in world, and the traffic reacts. Described in docs/closed_loop.md."""
