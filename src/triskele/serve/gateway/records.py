"""What the journal keeps of a request that has ended."""

from triskele.serve.gateway.choosing import described
from triskele.serve.gateway.journey import Journey
from triskele.serve.journal import Record

# Of a client that went away before it was answered.
GONE = 499


def record_of(journey: Journey, now: float, *, policy: str, keeps_text: bool) -> Record:
    """Return the record of a journey.

    Parameters
    ----------
    journey
        At its end.
    now
        That time, by the loop's clock.
    policy
        The name of what routed it.
    keeps_text
        Whether its prompt is to be kept.
    """
    prompt, usage, status = journey.prompt, journey.usage, journey.reply.status
    is_gone = journey.outcome == "cancelled" or status is None
    predicted = journey.predicted or (None, None)
    text = query = None
    if keeps_text and prompt is not None:
        text, query = prompt.text.decode("utf-8", "replace"), prompt.query
    return Record(
        id=journey.id,
        time=journey.wall,
        endpoint=journey.endpoint,
        model=journey.model or (prompt.model if prompt is not None else None) or "",
        worker=journey.worker,
        policy=policy,
        key=journey.key_name,
        session=None if prompt is None else prompt.session,
        status=GONE if is_gone or status is None else status,
        outcome=journey.outcome,
        error=journey.error,
        n_retries=journey.n_retries,
        stream=prompt is not None and prompt.is_stream,
        n_prompt=usage.n_prompt,
        n_cached=usage.n_cached,
        n_output=usage.n_output,
        predicted_ttft=predicted[0],
        ttft=None if journey.first_event is None else journey.first_event - journey.accepted,
        predicted_latency=predicted[1],
        latency=now - journey.accepted,
        prompt=text,
        query=query,
        decision=None if journey.decision is None else described(journey.decision),
    )
