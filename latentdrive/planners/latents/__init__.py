"""Latent actions inside a planner: where a predictor's embeddings come from, and how they are fused."""
