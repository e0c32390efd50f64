"""NAVSIM's and OpenScene's files: logs, sensor blobs, scene filters, synthetic scenes and submissions."""
