"""The numbers of nuPlan's car (a Chrysler Pacifica), which NAVSIM's score simulates: metres.

Poses of the car are those of its rear axle. The geometry of its box is in boxes.py.
"""

LENGTH_M, WIDTH_M, HEIGHT_M = 5.176, 2.297, 1.777
HALF_LENGTH_M, HALF_WIDTH_M = LENGTH_M / 2, WIDTH_M / 2
REAR_TO_CENTRE_M = 1.461  # distance from the rear axle to the centre of the box
WHEEL_BASE_M = 3.089
