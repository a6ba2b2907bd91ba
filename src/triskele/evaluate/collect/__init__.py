"""Votes from models and a judge: what to ask, what has been asked, and what it says.

The network is not on this page; ``triskele evaluate collect`` is what most people want of it.

>>> judge_says = '{"reason": "B forgets the unit.", "verdict": "A"}'
>>> read_verdict(judge_says)
'A'
"""

from triskele.evaluate.collect.budget import Bounds, Budget
from triskele.evaluate.collect.config import CollectConfig
from triskele.evaluate.collect.endpoints import Endpoint, Model
from triskele.evaluate.collect.estimate import Estimator
from triskele.evaluate.collect.faults import EndpointFault, RequestFault, TransientFault
from triskele.evaluate.collect.judge import JUDGE_PROMPT, fill_template, read_verdict
from triskele.evaluate.collect.ledger import Entry, Ledger, read_entries
from triskele.evaluate.collect.pairs import Comparison, read_pairs, sample_pairs
from triskele.evaluate.collect.plan import Agenda, Asking, Call
from triskele.evaluate.collect.prices import Amount, Price
from triskele.evaluate.collect.prompts import Prompt, read_prompts
from triskele.evaluate.collect.reply import Reply
from triskele.evaluate.collect.request import Request
from triskele.evaluate.collect.retry import Backoff
from triskele.evaluate.collect.run import Asker, Collector, Outcome, Pace, Progress
from triskele.evaluate.collect.tokens import TokenCounter
from triskele.evaluate.collect.votes import Vote, votes_of, write_votes

__all__ = [
    "Agenda",
    "Amount",
    "Asker",
    "Asking",
    "Backoff",
    "Bounds",
    "Budget",
    "Call",
    "CollectConfig",
    "Collector",
    "Comparison",
    "Endpoint",
    "EndpointFault",
    "Entry",
    "Estimator",
    "JUDGE_PROMPT",
    "Ledger",
    "Model",
    "Outcome",
    "Pace",
    "Price",
    "Progress",
    "Prompt",
    "Reply",
    "Request",
    "RequestFault",
    "TokenCounter",
    "TransientFault",
    "Vote",
    "fill_template",
    "read_entries",
    "read_pairs",
    "read_prompts",
    "read_verdict",
    "sample_pairs",
    "votes_of",
    "write_votes",
]
