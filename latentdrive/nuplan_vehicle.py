"""nuPlan's car (a Chrysler Pacifica), whose box NAVSIM's score drives: metres. One place for its numbers.

Beside types.py at the bottom of the import order: the world drives it, pictures draw it, the score simulates it.
"""

LENGTH_M, WIDTH_M, HEIGHT_M = 5.176, 2.297, 1.777
REAR_TO_CENTRE_M = 1.461  # from the rear axle, which poses are of, to the middle of the box
WHEEL_BASE_M = 3.089
