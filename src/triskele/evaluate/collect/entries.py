"""What a call came to, as the ledger takes it down.

Where an endpoint does not count tokens they are estimated. A refused call costs nothing; one that
was lost counts as the most it could have cost.
"""

from triskele.evaluate.collect.estimate import Estimator
from triskele.evaluate.collect.judge import read_verdict, visible
from triskele.evaluate.collect.ledger import Entry, Status
from triskele.evaluate.collect.plan import Call
from triskele.evaluate.collect.reply import Reply
from triskele.evaluate.collect.tokens import estimate_tokens


def reply_entry(call: Call, reply: Reply, *, began: float, now: float, by: Estimator) -> Entry:
    """Return the entry of a call that was answered; an answer without text is a failure.

    Parameters
    ----------
    call, reply
        What was asked, and what came back.
    began, now
        Unix times of the question and the answer.
    by
        Estimates the tokens that the endpoint did not count.
    """
    reason = None
    if not visible(reply.text):
        cut = ": it was cut off and needs more tokens" if reply.finish == "length" else ""
        reason = f"{call.model.label}: the reply is empty{cut}"
    counted_out = min(call.request.max_tokens, estimate_tokens(reply.text))
    return _entry(
        call,
        "done" if reason is None else "failed",
        began=began,
        now=now,
        tokens_in=round(by.tokens_in(call)) if reply.tokens_in is None else reply.tokens_in,
        tokens_out=counted_out if reply.tokens_out is None else reply.tokens_out,
        reply=reply,
        reason=reason,
    )


def refused_entry(call: Call, reason: str, *, began: float, now: float) -> Entry:
    """Return the entry of a call that will never be answered."""
    return _entry(call, "failed", began=began, now=now, tokens_in=0, tokens_out=0, reason=reason)


def lost_entry(call: Call, reason: str, *, began: float, now: float, by: Estimator) -> Entry:
    """Return the entry of an attempt that went wrong and may have been billed."""
    return _entry(
        call,
        "lost",
        began=began,
        now=now,
        tokens_in=round(by.tokens_in(call)),
        tokens_out=call.request.max_tokens,
        reason=reason,
    )


def _entry(
    call: Call,
    status: Status,
    *,
    began: float,
    now: float,
    tokens_in: int,
    tokens_out: int,
    reply: Reply | None = None,
    reason: str | None = None,
) -> Entry:
    text = "" if reply is None else reply.text
    return Entry(
        key=call.key,
        kind=call.kind,
        status=status,
        question_id=call.question_id,
        model=call.model.label,
        at=now,
        seconds=now - began,
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        is_counted=reply is not None and None not in (reply.tokens_in, reply.tokens_out),
        estimated_in=estimate_tokens(call.request.system, call.request.prompt),
        text=text,
        finish=None if reply is None else reply.finish,
        reason=reason,
        first=call.first,
        second=call.second,
        verdict=read_verdict(text) if call.kind == "verdict" else None,
    )
