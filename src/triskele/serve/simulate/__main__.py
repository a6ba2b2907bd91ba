"""The command line of the room: ``triskele simulate``.

Everything that belongs to a process and not to a simulation is here: arguments, signals, the
terminal, and exit statuses.
"""

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import tyro
from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.progress import (
    BarColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from triskele.serve.simulate.config import SimulateConfig
from triskele.serve.simulate.experiment import Experiment, Trial
from triskele.serve.simulate.plots import Curve, plot_results
from triskele.serve.simulate.report import (
    SUMMARY,
    Run,
    all_or_nothing,
    describe,
    summary_table,
    write_requests,
    write_summary,
)

DONE = 0
PICTURE = "summary.png"
WIDEST = 1000
"""Characters of a line that is wider than any table."""


class Terminal:
    """One live line over all trials; where output is no terminal, a plain line per trial.

    Parameters
    ----------
    console
        Where to write.
    n_trials, n_requests
        How many there will be, and requests of each.
    """

    def __init__(self, console: Console, *, n_trials: int, n_requests: int) -> None:
        self._n_trials, self._n_requests = n_trials, n_requests
        self._n_begun = 0
        self._progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[figures]}"),
            TimeElapsedColumn(),
            TextColumn("<"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
            expand=True,
            transient=True,
        )
        self._task = self._progress.add_task("", total=n_trials * n_requests, visible=False)

    @contextmanager
    def live(self) -> Iterator[None]:
        """Show the live line meanwhile."""
        with self._progress:
            yield

    def begin(self, trial: Trial) -> None:
        """Name the trial that begins."""
        self._n_begun += 1
        name = f"{trial.policy.label}, seed {trial.seed}"
        self._progress.update(self._task, description=name, visible=True)
        self.advance(0, 0.0)
        if not self._progress.console.is_terminal:
            self._progress.console.print(f"{self._n_begun} of {self._n_trials}: {name}")

    def advance(self, n_done: int, now: float) -> None:
        """Show how far the trial is."""
        before = (self._n_begun - 1) * self._n_requests
        figures = f"{self._n_begun} of {self._n_trials}  {now:,.0f} s simulated"
        self._progress.update(self._task, completed=before + n_done, figures=figures)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``triskele simulate`` and return its exit status."""
    config = tyro.cli(
        SimulateConfig,
        args=arguments,
        prog="triskele simulate",
        config=(tyro.conf.OmitArgPrefixes,),
    )
    try:
        return _simulate(config)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("nothing was written") from None


def _simulate(config: SimulateConfig) -> int:
    console = Console()
    experiment = Experiment(config)
    title = describe(config, experiment.n_requests)
    runs: list[Run] = []
    curves: list[Curve] = []
    terminal = Terminal(console, n_trials=experiment.n_trials, n_requests=experiment.n_requests)
    with _interruptible(), all_or_nothing(config.out) as folder:
        with terminal.live():
            for trial, result in experiment.run(
                on_begin=terminal.begin, on_progress=terminal.advance
            ):
                run = Run.of(trial, result, slo=config.slo)
                write_requests(folder / run.file, run, result)
                runs.append(run)
                if trial.seed == config.seed:
                    curves.append(Curve(trial.policy.label, result))
        plot_results(folder / PICTURE, curves, title=title, slo=config.slo)
        write_summary(folder / SUMMARY, config, runs)
    table = summary_table(runs, slo=config.slo)
    # No figure is cut, however narrow the terminal.
    needed = Measurement.get(console, console.options.update(width=WIDEST), table).maximum
    console.width = max(console.width, needed)
    console.print(f"\n[bold]{escape(title)}[/]\n", highlight=False)
    console.print(table)
    console.print()
    for name, file in (("picture", PICTURE), ("figures", SUMMARY), ("requests", "*.parquet")):
        console.print(f"{name:<9}{escape(str(config.out / file))}", highlight=False, soft_wrap=True)
    return DONE


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let SIGTERM end the work as Ctrl-C does, so that it cleans up after itself."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
