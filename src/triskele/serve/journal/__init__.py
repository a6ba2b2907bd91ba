"""The journal: one record per served request, appended without waiting, read back in order.

>>> journal = Journal(Path("journal"))
>>> journal.append(Record(id="1", time=now, endpoint="/v1/completions", model="llama", ...))
>>> append_feedback(Path("journal"), Feedback(id="1", time=now, score=1.0, source="ann"))
"""

from triskele.serve.journal.feedback import Feedback, append_feedback, read_feedback
from triskele.serve.journal.reader import read, to_table
from triskele.serve.journal.record import Record
from triskele.serve.journal.writer import Journal

__all__ = ["Feedback", "Journal", "Record", "append_feedback", "read", "read_feedback", "to_table"]
