"""Votes in files: comparisons with the texts of their queries, in LMArena's columns.

>>> votes = read_votes("votes.jsonl")
>>> votes.comparisons, votes.texts
>>> write_votes("votes.parquet", votes)
"""

from triskele.evaluate.votes.reading import Votes, read_votes, write_votes

__all__ = ["Votes", "read_votes", "write_votes"]
