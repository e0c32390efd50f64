"""Networks that turn features into plans, and that a teacher, a student or a planner can carry."""
