"""latentdrive inside other people's software: one file each, the only one that imports it."""
