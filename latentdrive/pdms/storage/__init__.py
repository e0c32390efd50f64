"""Prepared scoring scenes on disk: one file a scene, content keys, and the processes that prepare them."""
