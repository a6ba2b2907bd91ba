"""Whether the columns of a score matrix speak of the same queries in the same rows.

>>> report = check_alignment(scores, models=names, categories=labels)
>>> report.is_aligned, report.warning, report.repaired
"""

from triskele.evaluate.alignment.check import check_alignment
from triskele.evaluate.alignment.findings import AlignmentReport

__all__ = ["AlignmentReport", "check_alignment"]
