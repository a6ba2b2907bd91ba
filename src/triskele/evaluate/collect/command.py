"""The command line: ``triskele evaluate collect``.

Everything that belongs to a process and not to a collection is here: arguments, environment,
signals, the clock, and exit statuses.
"""

import asyncio
import os
import random
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import tyro
from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement

from triskele.evaluate.collect.config import CollectConfig
from triskele.evaluate.collect.job import Job, Work, begin, prepare
from triskele.evaluate.collect.keys import read_keys
from triskele.evaluate.collect.ledger import Ledger, Settled, read_entries
from triskele.evaluate.collect.report import Tally, describe, estimate_table, total_of
from triskele.evaluate.collect.run import Collector, Outcome, Pace
from triskele.evaluate.collect.terminal import Terminal
from triskele.evaluate.collect.votes import votes_of, write_votes

DONE, LEFT = 0, 1
LEDGER, VOTES = "ledger.jsonl", "votes.jsonl"
INTERRUPTED = "interrupted"
SIGNALS = (signal.SIGINT, signal.SIGTERM)
WIDEST = 1000
"""Characters of a line that is wider than any table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Session:
    """What a run of the command has at hand."""

    config: CollectConfig
    job: Job
    console: Console
    clock: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]


def main(
    arguments: Sequence[str] | None = None,
    *,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> int:
    """Run ``triskele evaluate collect`` and return its exit status.

    Parameters
    ----------
    arguments
        What follows ``triskele evaluate collect``; the process's own if not given.
    clock
        Unix time.
    sleep
        Waits for so many seconds.

    Raises
    ------
    ValueError, OSError
        If it could not be done; the text is one line.
    KeyboardInterrupt
        If it was interrupted; what came until then is kept.
    """
    config = tyro.cli(
        CollectConfig,
        args=arguments,
        prog="triskele evaluate collect",
        config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff),
    )
    job = prepare(config)
    session = _Session(config=config, job=job, console=Console(), clock=clock, sleep=sleep)
    if config.dry_run:
        history = read_entries(config.out / LEDGER)
        _show_estimate(session, begin(job, history, Settled(history)))
        return DONE
    keys = read_keys(
        job.endpoints,
        variables=config.keys.key_env,
        files=config.keys.key_file,
        environment=os.environ,
    )
    client = _client()(job.endpoints, keys=keys, timeout=config.limits.timeout, clock=clock)
    config.out.mkdir(parents=True, exist_ok=True)
    with Ledger(config.out / LEDGER) as ledger:
        work = begin(job, ledger, ledger.settled)
        _show_estimate(session, work)
        outcome = None
        if not work.agenda.is_finished:
            if not _may_send(session, work):
                return LEFT
            outcome = _collect(session, work, ledger, client)
        _show_votes(session, work)
    return DONE if outcome is None else _status(session, work, outcome)


def _client() -> Callable[..., Any]:
    """Return what makes a client; it is looked up late because only collecting needs aiohttp."""
    try:
        client: Callable[..., Any] = import_module("triskele.evaluate.collect.client").Client
    except ModuleNotFoundError as error:
        if error.name != "aiohttp":
            raise
        raise ValueError("collecting needs aiohttp: pip install 'triskele[collect]'") from None
    return client


def _show_estimate(session: _Session, work: Work) -> None:
    console, job = session.console, session.job
    n_prompts = len({comparison.prompt.id for comparison in job.comparisons})
    console.print(
        f"\n[bold]{len(job.comparisons):,} comparisons of answers to {n_prompts:,} prompts, "
        "each judged in both orders[/]\n",
        highlight=False,
    )
    table = estimate_table(work.estimate, prices=job.prices)
    # No figure is cut, however narrow the terminal.
    needed = Measurement.get(console, console.options.update(width=WIDEST), table).maximum
    console.width = max(console.width, needed)
    console.print(table)
    if work.budget.spent.tokens:
        spent = describe(work.budget.spent, has_prices=bool(job.prices))
        console.print(f"\nspent before: {spent}", highlight=False)
    console.print()


def _may_send(session: _Session, work: Work) -> bool:
    """Ask whether to send, unless the command line has said so."""
    config, console = session.config, session.console
    if config.yes:
        return True
    if not (console.is_terminal and sys.stdin.isatty()):
        if config.limits.max_cost is None and config.limits.max_tokens is None:
            raise ValueError("expected --yes, --max-cost or --max-tokens: nobody can be asked here")
        return True
    try:
        answer = console.input(f"Make these {total_of(work.estimate).n_calls:,} calls? (y/N) ")
    except EOFError:
        answer = ""
    return answer.strip().lower() in ("y", "yes")


def _collect(session: _Session, work: Work, ledger: Ledger, client: Any) -> Outcome:
    terminal = Terminal(session.console, has_prices=bool(session.job.prices))
    deadline = session.config.limits.deadline
    collector = Collector(
        work.agenda,
        ledger,
        client,
        estimator=work.estimator,
        counter=work.counter,
        budget=work.budget,
        pace=Pace(
            concurrency=session.job.concurrency,
            backoff=session.job.backoff,
            deadline=None if deadline is None else session.clock() + deadline,
        ),
        clock=session.clock,
        sleep=session.sleep,
        rng=random.Random(),
        on_progress=terminal.show,
    )
    with terminal.live():
        return asyncio.run(_interruptible(collector, client, terminal))


async def _interruptible(collector: Collector, client: Any, terminal: Terminal) -> Outcome:
    """Collect; a first Ctrl-C or SIGTERM begins no more calls, a second drops those under way."""
    task = asyncio.current_task()
    assert task is not None
    is_asked = False

    def interrupt() -> None:
        nonlocal is_asked
        if is_asked:
            task.cancel()
        else:
            is_asked = True
            terminal.say("finishing the calls under way; Ctrl-C again drops them")
            collector.stop(INTERRUPTED)

    loop = asyncio.get_running_loop()
    for number in SIGNALS:
        loop.add_signal_handler(number, interrupt)
    try:
        async with client:
            return await collector.run()
    except asyncio.CancelledError:
        task.uncancel()
        return Outcome(stopped=INTERRUPTED, is_error=False, n_left=0, n_retries=0, trouble=None)
    finally:
        for number in SIGNALS:
            loop.remove_signal_handler(number)


def _show_votes(session: _Session, work: Work) -> None:
    path = session.config.out / VOTES
    votes = list(votes_of(work.agenda.judged(), judge=session.job.judge.label))
    lines = Tally.of(votes, work.agenda.entries()).lines()
    # A file without any vote would say no more than none.
    if votes or path.exists():
        write_votes(path, votes)
        lines.append(f"votes  {path}")
    for line in lines:
        session.console.print(escape(line), highlight=False, soft_wrap=True)


def _status(session: _Session, work: Work, outcome: Outcome) -> int:
    """Return the exit status, once it is said what is left."""
    kept = f"{work.agenda.n_done:,} of {work.agenda.n_calls:,} calls are done"
    if outcome.stopped == INTERRUPTED:
        raise KeyboardInterrupt(f"{kept}; the same command goes on")
    if outcome.is_error:
        raise ValueError(f"{outcome.stopped}; {kept} and kept")
    if outcome.stopped is None and not outcome.n_left:
        return DONE
    reason = outcome.stopped or f"some calls came to nothing, the last: {outcome.trouble}"
    said = f"not finished: {reason}; {kept}, the same command goes on"
    session.console.print(escape(said), highlight=False, soft_wrap=True)
    return LEFT
