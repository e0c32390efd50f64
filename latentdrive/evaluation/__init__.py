"""Evaluation: a planner drives every scene of a split and is scored; results files, audit,
submissions' totals, comparisons."""
