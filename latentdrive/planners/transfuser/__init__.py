"""Transfuser and Latent Transfuser (LTF), NAVSIM's learned baselines: camera and LiDAR fused by attention.

Chitta et al., arXiv:2205.15997. Read in this order: exchange.py, backbone.py, model.py, losses.py; then
official.py, which reads NAVSIM's own weights.
"""
