"""Pictures of plans and scenes, drawn on arrays; commands, planners and the report use them."""
