"""Into the car: networks as graphs of fixed shapes, the folder that carries them (a bundle), and what runs it there.

graphs.py makes graphs from a checkpoint; formats.py writes them; bundle.py puts them into a folder and reads it back;
gate.py compares them with PyTorch; runtime.py runs a bundle in the car and imports nothing of latentdrive.
"""
