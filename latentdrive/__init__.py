"""latentdrive: latent actions from driving video, a Qwen2.5-VL teacher, a 50 M student, and NAVSIM's score."""

__version__ = "0.1.0"
