"""Transfuser and Latent Transfuser, NAVSIM's learned baselines: camera and LiDAR fused by attention (Chitta et al., arXiv:2205.15997).

backbone.py looks, model.py plans, losses.py teaches, official.py reads NAVSIM's own weights.
"""
