"""The report: one page a cycle in six DMAICS sections, and an index page over the cycles.

    contexts.py   one frozen dataclass a page: everything that a page shows, already decided
    lots.py       the section on watched lots
    gauge.py      the part on gauge studies
    threshold.py  the part on thresholds
    figures.py    Plotly figures as plain dictionaries
    render.py     contexts -> HTML files
    templates/    they compute nothing

Importing this package is light; jinja2 and Pillow come in with the functions.
"""

from harness.report.render import render_reports

__all__ = ["render_reports"]
