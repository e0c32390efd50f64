"""A driving world that needs no download and writes ordinary video files with poses beside them."""
