"""Small pieces that tests put together: prompts, models, agendas, entries."""

from collections.abc import Callable
from typing import Any

from triskele.evaluate.collect.endpoints import Model
from triskele.evaluate.collect.ledger import Entry
from triskele.evaluate.collect.pairs import Comparison
from triskele.evaluate.collect.plan import Agenda, Asking, Call
from triskele.evaluate.collect.prompts import Prompt

JUDGE = Model("judge", "judge", "far")


def prompts(n_prompts: int) -> list[Prompt]:
    return [Prompt(f"q{number}", f"What is {number}?") for number in range(n_prompts)]


def models(labels: str) -> dict[str, Model]:
    """Return a model per letter, at the endpoint ``near``."""
    return {label: Model(label, f"model-{label}", "near") for label in labels}


def comparisons(n_prompts: int, pairs: str) -> list[Comparison]:
    """Return all pairs, such as ``"ab ac"``, for each prompt."""
    return [Comparison(prompt, *pair) for prompt in prompts(n_prompts) for pair in pairs.split()]


def agenda(
    asked: list[Comparison],
    *,
    asking: Asking | None = None,
    known: Callable[[str], Entry | None] = lambda key: None,
) -> Agenda:
    labels = "".join(sorted({label for one in asked for label in (one.model_a, one.model_b)}))
    return Agenda(asked, models(labels), JUDGE, asking=asking or Asking(), known=known)


def entry_of(call: Call, text: str, **changes: Any) -> Entry:
    fields: dict[str, Any] = {
        "key": call.key,
        "kind": call.kind,
        "status": "done",
        "question_id": call.question_id,
        "model": call.model.label,
        "at": 1.0,
        "seconds": 0.5,
        "tokens_in": 10,
        "tokens_out": 5,
        "is_counted": True,
        "estimated_in": 10,
        "text": text,
        "first": call.first,
        "second": call.second,
        "verdict": text if call.kind == "verdict" and text in ("A", "B", "T") else None,
    }
    return Entry(**{**fields, **changes})


def entry(key: str = "k", **changes: Any) -> Entry:
    fields: dict[str, Any] = {
        "key": key,
        "kind": "answer",
        "status": "done",
        "question_id": "q",
        "model": "a",
        "at": 1.0,
        "seconds": 0.5,
        "tokens_in": 10,
        "tokens_out": 5,
        "is_counted": True,
        "estimated_in": 10,
        "text": "text",
    }
    return Entry(**{**fields, **changes})


def work_off(agenda: Agenda, answer: Callable[[Call], str]) -> list[Call]:
    """Make all calls of an agenda, and return them in the order they were made."""
    made = []
    while not agenda.is_finished:
        call = agenda.take("far") or agenda.take("near")
        assert call is not None
        made.append(call)
        agenda.settle(entry_of(call, answer(call)))
        agenda.check()
    return made
