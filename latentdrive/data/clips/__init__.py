"""Driving clips: video files, image folders and recorded drives, resampled, cut into shots and cached."""
