"""The steps of the demo, in the order in which they run."""

DEMO_STEPS = (
    "world",
    "navsim",
    "pictures",
    "codebook",
    "label_codebook",
    "teacher",
    "label_teacher",
    "student",
    "label_student",
    "label_expected",
    "planner",
    "score_constant_velocity",
    "score_fused",
    "score_human",
    "report",
)
