"""Charts as plain dictionaries for plotly.js; the page draws them in the browser, in the colours of
its theme."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64

from latentdrive.report.runs import Curve

BLUE, ORANGE, GREEN, RED, GREY, VIOLET = "#3b82f6", "#f59e0b", "#10b981", "#ef4444", "#94a3b8", "#8b5cf6"
# Colours of the series, in order.
PAINTS = (BLUE, ORANGE, GREEN, VIOLET, RED, GREY, "#14b8a6", "#ec4899", "#84cc16", "#a16207")
