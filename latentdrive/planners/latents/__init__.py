"""Latent actions in a planner: sources of a predictor's embeddings, and the fusion that reads them."""
