"""One page that says which model is best for which kind of query, and how sure that is.

>>> model, embeddings = fit_model(source, FitOptions())
>>> found = findings_of(source, model, embeddings, verdict="", map_queries=2000, seed=0)
>>> Path("report.html").write_text(page(found, title="Which model for which query"))
"""

from triskele.evaluate.report.findings import Findings, findings_of
from triskele.evaluate.report.page import page

__all__ = ["Findings", "findings_of", "page"]
