"""Pretraining from text: the loop, and what it leaves on disk.

    OUT/tokens/       tokenizer and token shards        OUT/checkpoint/  loads in transformers
    OUT/snapshots/    what --resume continues from      OUT/loss.png     training and validation
    OUT/metrics.jsonl one line per step                 OUT/sample.txt   what the model writes
    OUT/tensorboard/  the same as events                OUT/run.json     configuration and plan

The loop decides when to validate, save and stop; how a step is computed is the run's business,
how progress is shown the sink's. It never prints and never reads the environment.
"""

import tempfile
import time
from collections.abc import Callable

import torch

from triskele.train.artifacts import write_artifacts
from triskele.train.config import TrainConfig
from triskele.train.hardware import choose_device, choose_precision, peak_flops
from triskele.train.metrics import Logs, bits_per_byte, perplexity
from triskele.train.plan import context_of, interval, make_plan
from triskele.train.ranks import Ranks
from triskele.train.records import (
    Notice,
    RunFinished,
    RunStarted,
    Sink,
    SnapshotSaved,
    StepRecord,
    ValidationRecord,
    discard,
)
from triskele.train.run import Run
from triskele.train.snapshot import has_snapshots, load_newest, save_snapshot
from triskele.train.tokens import Dataset, prepare

SNAPSHOT_FOLDER = "snapshots"
VALIDATIONS, SNAPSHOTS = 40, 20
"""About how many of each a run makes where the configuration does not say."""


def never() -> bool:
    """Tell the loop to go on."""
    return False


def pretrain(
    config: TrainConfig,
    *,
    sink: Sink = discard,
    stop: Callable[[], bool] = never,
    ranks: Ranks = Ranks(),  # noqa: B008 - an immutable record
    clock: Callable[[], float] = time.perf_counter,
) -> RunFinished:
    """Train a model from text and write it to ``config.out``.

    Parameters
    ----------
    config
        What to train, on what, for how long.
    sink
        Called with every record of what happens, in order, in this thread.
    stop
        Asked after every step; when it says yes, a snapshot is saved and the run ends early.
    ranks
        This process's place among several that share the run; the process group must exist.
    clock
        Tells seconds, for the speed of steps.

    Returns
    -------
    RunFinished
        Where things were written, and whether the run was interrupted.

    Raises
    ------
    ValueError
        If data, configuration or snapshots do not allow the run (one line says why), or if
        training diverges (``TrainingDiverged``) or a snapshot cannot be written
        (``SnapshotError``); earlier snapshots are intact.
    """
    begun = clock()
    run, dataset = _set_up(config, sink, ranks)
    step = _resume(config, run, sink)
    started = _announce(run, dataset, step)
    sink(started)
    total_steps = run.plan.total_steps
    validate_every = interval(config.watch.validate_every, total_steps, VALIDATIONS)
    save_every = interval(config.snapshot.every, total_steps, SNAPSHOTS)
    validation, artifacts, interrupted = None, None, False
    with Logs(config, sink, after_step=step, ranks=ranks) as log:
        while step < total_steps and not interrupted:
            log(_timed_step(run, step, started, clock))
            step += 1
            complete = step == total_steps
            if complete or step % validate_every == 0:
                validation = _validate(run, dataset, step)
                log(validation)
            interrupted = _any_rank(stop(), run) and not complete
            if complete or interrupted or step % save_every == 0:
                _save(config, run, step, sink)
        if not interrupted:
            validation = validation or _validate(run, dataset, step)
            artifacts = write_artifacts(config, run, dataset) if ranks.is_first else None
    finished = RunFinished(
        step=step,
        total_steps=total_steps,
        interrupted=interrupted,
        validation=validation,
        seconds=clock() - begun,
        artifacts=artifacts,
    )
    sink(finished)
    return finished


def _set_up(config: TrainConfig, sink: Sink, ranks: Ranks) -> tuple[Run, Dataset]:
    """Check the folder, find the tokens, settle the plan and build the model."""
    device = choose_device(config.compute.device, local_rank=ranks.local_rank)
    precision = choose_precision(config.compute.precision, device)
    if ranks.is_first:
        _claim_folder(config)
        prepare(config, context=context_of(config), sink=sink)
    ranks.wait()
    dataset = prepare(config, context=context_of(config), sink=discard)
    plan = make_plan(
        config,
        vocab_size=dataset.vocab_size,
        n_train_tokens=len(dataset.train),
        data=dataset.fingerprint,
        device=device.type,
        precision=precision,
        world_size=ranks.world_size,
    )
    run = Run(
        plan,
        dataset,
        device=device,
        validation_tokens=config.watch.validation_tokens,
        ranks=ranks,
    )
    return run, dataset


def _claim_folder(config: TrainConfig) -> None:
    """Make sure that OUT can be written, and that no other run is overwritten."""
    try:
        config.out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=config.out):
            pass
    except OSError as error:
        raise ValueError(f"cannot write to {config.out}: {error.strerror}") from None
    if has_snapshots(config.out / SNAPSHOT_FOLDER) and not config.resume:
        raise ValueError(
            f"{config.out} already holds a run; continue it with --resume or choose another --out"
        )


def _resume(config: TrainConfig, run: Run, sink: Sink) -> int:
    """Restore the newest good snapshot, if that is wanted; return the number of finished steps."""
    if not config.resume:
        return 0
    snapshot = load_newest(
        config.out / SNAPSHOT_FOLDER,
        device=run.device,
        warn=lambda text: sink(Notice(text=text)),
    )
    if snapshot is None:
        sink(Notice(text=f"{config.out} holds no snapshot yet: starting from the beginning"))
        return 0
    run.restore(snapshot.state)
    sink(Notice(text=f"resuming after step {snapshot.step} from {snapshot.path}"))
    return snapshot.step


def _announce(run: Run, dataset: Dataset, first_step: int) -> RunStarted:
    plan = run.plan
    dtype = torch.bfloat16 if plan.precision == "bf16" else torch.float32
    peak = peak_flops(run.device, dtype) if run.ranks.is_first else None
    return RunStarted(
        optimizer=plan.optimizer,
        first_step=first_step,
        total_steps=plan.total_steps,
        n_parameters=plan.model.n_params,
        n_train_tokens=len(dataset.train),
        n_validation_tokens=len(dataset.validation),
        tokens_per_step=plan.tokens_per_step,
        vocab_size=plan.model.vocab_size,
        device=str(run.device),
        precision=plan.precision,
        peak_flops=None if peak is None else peak * plan.world_size,
    )


def _timed_step(run: Run, step: int, started: RunStarted, clock: Callable[[], float]) -> StepRecord:
    begun = clock()
    loss, norm = run.train(step)
    seconds = clock() - begun
    rate = run.plan.tokens_per_step / seconds
    flops = rate * run.plan.model.flops_per_token(run.plan.context)
    return StepRecord(
        step=step + 1,
        loss=loss,
        lr=run.optimizer.lr,
        power=run.optimizer.power,
        grad_norm=norm,
        tokens=(step + 1) * run.plan.tokens_per_step,
        seconds=seconds,
        tokens_per_second=rate,
        mfu=None if started.peak_flops is None else flops / started.peak_flops,
    )


def _validate(run: Run, dataset: Dataset, step: int) -> ValidationRecord:
    loss = run.validate()
    return ValidationRecord(
        step=step,
        loss=loss,
        perplexity=perplexity(loss),
        bits_per_byte=bits_per_byte(loss, dataset.bytes_per_token),
    )


def _any_rank(here: bool, run: Run) -> bool:
    return run.ranks.mean([float(here)], run.device)[0] > 0.0


def _save(config: TrainConfig, run: Run, step: int, sink: Sink) -> None:
    state = run.state()
    if run.ranks.is_first:
        folder = config.out / SNAPSHOT_FOLDER
        path = save_snapshot(folder, state, step=step, keep=config.snapshot.keep)
        sink(SnapshotSaved(step=step, path=path))
    run.ranks.wait()
