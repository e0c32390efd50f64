"""PDM-Closed, the rule-based reference driver: route, centreline, forecast of the others and IDM proposals."""
