"""The teacher: a Qwen2.5-VL that predicts ego latent actions from what the car sees now."""
