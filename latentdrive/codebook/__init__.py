"""The latent-action codebook in two stages: what the environment did, then what the driver did."""
