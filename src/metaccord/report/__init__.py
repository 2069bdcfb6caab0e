"""One HTML file about one or several runs, that opens without a network.

:func:`write` reads the records, computes what is missing from the newest checkpoint, keeps that in
``RUN/report/`` and writes the page. The same records give the same bytes.
"""

from metaccord.report.write import write

__all__ = ["write"]
