"""The page: writes the sections into one HTML file that opens offline, with plotly.js, pictures,
style and script inside.

Last step of the report. Charts are JSON that `report.js` passes to plotly in the colours of the
reader's theme. Drawings are SVG from drawings.py, the only text that is inserted without escaping.
"""

import json
from collections.abc import Sequence
from datetime import datetime
from itertools import count
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from plotly.offline import get_plotlyjs

from latentdrive import __version__
from latentdrive.files import write_atomic
from latentdrive.report.charts import Chart
from latentdrive.report.sections import Section


def write_page(path: str | Path, sections: Sequence[Section], *, title: str, command: str) -> None:
    """Write the page to `path`, as a whole or not at all."""
    templates = Environment(
        loader=PackageLoader("latentdrive.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {"json": _json, "percent": lambda share: f"{100 * share:.0f} %"}
    numbers = count(1)
    text = templates.get_template("report.html").render(
        title=title,
        command=command,
        sections=sections,
        plotly=get_plotlyjs(),
        version=__version__,
        made=datetime.now().strftime("%Y-%m-%d %H:%M"),
        next_number=lambda: next(numbers),
    )
    write_atomic(path, lambda new: new.write_text(text, encoding="utf-8"))


def _json(chart: Chart) -> str:
    """The chart as JSON for a script element.

    There `</script` ends the element and `<!--` begins a comment, so no text holds a `<`.
    """
    return json.dumps({"data": chart.data, "layout": chart.layout}).replace("<", "\\u003c")
