"""The journal: one record per served request, appended without waiting, read back in order.

>>> journal = Journal(Path("journal"))
>>> journal.append(Record(id="1", time=now, endpoint="/v1/completions", model="llama", ...))
>>> for record in read(Path("journal"), since=yesterday): ...
"""

from triskele.serve.journal.reader import read, to_table
from triskele.serve.journal.record import Record
from triskele.serve.journal.writer import Journal

__all__ = ["Journal", "Record", "read", "to_table"]
