"""The built-in world as driving clips: video files with poses and truth beside them."""
