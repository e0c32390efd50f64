"""iPad (arXiv:2505.15111): a planner that refines a set of proposals by looking where each of them leads.

Read in this order: images.py, anchors.py, attention.py, refiner.py, heads.py, model.py; then targets.py and losses.py.
"""
