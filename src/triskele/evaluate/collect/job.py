"""What a configuration comes to: prompts read, words understood, calls laid out; nothing sent."""

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from triskele.evaluate.collect.budget import Bounds, Budget
from triskele.evaluate.collect.config import AskingOptions, CollectConfig, LimitOptions
from triskele.evaluate.collect.endpoints import (
    Endpoint,
    Model,
    per_endpoint,
    read_endpoints,
    read_model,
    read_models,
)
from triskele.evaluate.collect.estimate import Estimator, Line
from triskele.evaluate.collect.judge import JUDGE_PROMPT, check_template
from triskele.evaluate.collect.ledger import Entry, Settled
from triskele.evaluate.collect.pairs import Comparison, read_pairs, sample_pairs
from triskele.evaluate.collect.plan import Agenda, Asking
from triskele.evaluate.collect.prices import Amount, Price, read_prices
from triskele.evaluate.collect.prompts import read_prompts
from triskele.evaluate.collect.retry import Backoff
from triskele.evaluate.collect.tokens import TokenCounter


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Job:
    """Whom to ask what, and within which bounds."""

    endpoints: Mapping[str, Endpoint]
    models: Mapping[str, Model]
    judge: Model
    asking: Asking
    comparisons: Sequence[Comparison]
    prices: Mapping[str, Price]
    bounds: Bounds
    concurrency: Mapping[str, int]
    backoff: Backoff
    retries_failed: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Work:
    """What is left to do of a job, and what that may cost."""

    agenda: Agenda
    counter: TokenCounter
    estimator: Estimator
    budget: Budget
    estimate: Sequence[Line]


def prepare(config: CollectConfig) -> Job:
    """Read what a configuration names, and lay out its job.

    Raises
    ------
    ValueError
        If something is missing or does not fit: what was expected, and what is there.
    """
    endpoints = read_endpoints(config.endpoints)
    models = read_models(config.models, endpoints)
    if len(models) < 2:
        raise ValueError(f"expected at least 2 models to compare, got {len(models)}")
    judge = read_model(config.judge, endpoints)
    labels = list(models)
    if models.get(judge.label, judge) != judge:
        raise ValueError(
            f"expected another label for the judge, {judge.label!r} is a model at another "
            "endpoint; LABEL=MODEL gives it one"
        )
    asked = list(dict.fromkeys((*labels, judge.label)))
    prices = read_prices(config.limits.prices, asked)
    limits = _checked(config.limits)
    unpriced = [label for label in asked if label not in prices]
    if limits.max_cost is not None and unpriced:
        raise ValueError(f"--max-cost needs --prices of all, there is none of {unpriced[0]}")
    prompts = read_prompts(
        config.prompts,
        id_column=config.id_column,
        text_column=config.text_column,
        limit=config.limit,
    )
    if config.pairs is not None:
        comparisons = read_pairs(config.pairs, prompts, labels)
    else:
        rng = random.Random(config.seed)
        comparisons = sample_pairs(prompts, labels, per_prompt=config.pairs_per_prompt, rng=rng)
    return Job(
        endpoints=endpoints,
        models=models,
        judge=judge,
        asking=_asking(config.asking),
        comparisons=comparisons,
        prices=prices,
        bounds=Bounds(tokens=limits.max_tokens, cost=limits.max_cost),
        concurrency=_concurrency(limits.concurrency, endpoints),
        backoff=Backoff(n_retries=limits.retries),
        retries_failed=config.retry_failed,
    )


def begin(job: Job, history: Iterable[Entry], settled: Settled) -> Work:
    """Set a job against what has been done of it.

    Parameters
    ----------
    job
        What is to be done.
    history
        All that the ledger has: what was spent, and how long things were.
    settled
        What need not be asked again.
    """
    agenda = Agenda(
        job.comparisons,
        job.models,
        job.judge,
        asking=job.asking,
        known=settled.done if job.retries_failed else settled.get,
    )
    counter = TokenCounter()
    estimator = Estimator(counter, job.prices)
    spent = Amount()
    for entry in history:
        counter.learn(entry)
        spent += estimator.spent(entry)
    return Work(
        agenda=agenda,
        counter=counter,
        estimator=estimator,
        budget=Budget(job.bounds, spent=spent),
        estimate=estimator.lines(agenda, job.models, job.judge, job.asking),
    )


def _checked(limits: LimitOptions) -> LimitOptions:
    for option, value, least in (
        ("--max-cost", limits.max_cost, 0),
        ("--max-tokens", limits.max_tokens, 0),
        ("--deadline", limits.deadline, 0),
        ("--retries", limits.retries, 0),
    ):
        if value is not None and not value >= least:
            raise ValueError(f"expected {option} of at least {least}, got {value}")
    if not limits.timeout > 0:
        raise ValueError(f"expected --timeout of more than 0 seconds, got {limits.timeout:g}")
    return limits


def _asking(options: AskingOptions) -> Asking:
    for option, value in (
        ("--answer-tokens", options.answer_tokens),
        ("--verdict-tokens", options.verdict_tokens),
    ):
        if value < 1:
            raise ValueError(f"expected {option} of at least 1, got {value}")
    template = JUDGE_PROMPT
    if options.judge_prompt is not None:
        try:
            template = options.judge_prompt.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"{options.judge_prompt}: {error}") from None
        check_template(template)
    return Asking(
        answer_tokens=options.answer_tokens,
        verdict_tokens=options.verdict_tokens,
        temperature=options.temperature,
        judge_temperature=options.judge_temperature,
        system=options.system,
        template=template,
    )


def _concurrency(words: Sequence[str], endpoints: Mapping[str, Endpoint]) -> dict[str, int]:
    given = per_endpoint(words, endpoints, option="--concurrency")
    for word in given.values():
        if not word.isdecimal() or int(word) < 1:
            raise ValueError(f"expected [ENDPOINT=]N of at least 1 in --concurrency, got {word}")
    default = int(given.get(None, "8"))
    return {name: int(given.get(name, default)) for name in endpoints}
