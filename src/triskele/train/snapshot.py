"""Snapshots: the whole state of a run on disk, complete or not there at all.

A snapshot is a folder ``step-00000100`` with ``state.pt`` (whatever ``torch.save`` takes) and
``seal.json`` (its size and digest). It is written under a name that no reader looks at, synced to
disk, and only then renamed: a crash at any moment leaves the earlier snapshots as they were. A
snapshot whose digest does not match is passed over for the one before it. What the state means is
the run's business.
"""

import hashlib
import json
import os
import pickle
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

STATE, SEAL = "state.pt", "seal.json"
FORMAT = 1
NAME = re.compile(r"step-(\d{8,})")
CHUNK_BYTES = 1 << 22
UNREADABLE = (
    OSError,
    ValueError,
    RuntimeError,
    EOFError,
    KeyError,
    TypeError,
    pickle.UnpicklingError,
)
"""What reading a damaged snapshot may raise."""


class SnapshotError(ValueError):
    """A snapshot could not be written; those before it are intact."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A state read back, and the step it was taken after."""

    step: int
    path: Path
    state: dict[str, Any]


def save_snapshot(folder: Path, state: dict[str, Any], *, step: int, keep: int = 2) -> Path:
    """Write a snapshot atomically, then remove all but the newest ``keep`` up to this step.

    A good snapshot of the same step is left as it is.

    Parameters
    ----------
    folder
        Where the snapshots of this run live.
    state
        Tensors and plain data, as ``torch.load(weights_only=True)`` accepts.
    step
        Number of finished steps.
    keep
        How many snapshots stay.

    Raises
    ------
    SnapshotError
        If the disk is full or refuses; nothing that was there before is touched.
    """
    target = folder / f"step-{step:08d}"
    if target.exists() and _is_good(target):
        return target
    partial = folder / f".{target.name}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for leftover in folder.glob(".*.part"):
            shutil.rmtree(leftover)
        partial.mkdir()
        _write_state(partial / STATE, state)
        size, digest = _measure(partial / STATE)
        _write_synced(
            partial / SEAL,
            json.dumps({"format": FORMAT, "step": step, "bytes": size, "blake2b": digest}),
        )
        _sync_folder(partial)
        if target.exists():
            shutil.rmtree(target)
        partial.rename(target)
        _sync_folder(folder)
    except (OSError, RuntimeError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        newest = max(_steps(folder), default=None)
        intact = "" if newest is None else f"; the snapshot of step {newest} is intact"
        raise SnapshotError(
            f"cannot write the snapshot of step {step}: {_reason(error)}{intact}"
        ) from error
    newest_kept = sorted(x for x in _steps(folder) if x <= step)[-keep:]
    for stale in set(_steps(folder)).difference(newest_kept):
        shutil.rmtree(folder / f"step-{stale:08d}", ignore_errors=True)
    return target


def load_newest(
    folder: Path, *, device: torch.device | str = "cpu", warn: Callable[[str], None]
) -> Snapshot | None:
    """Read the newest good snapshot, passing over damaged ones.

    Parameters
    ----------
    folder
        Where the snapshots live; it need not exist.
    device
        Where the tensors go.
    warn
        Called with one sentence for every damaged snapshot.

    Returns
    -------
    Snapshot or None
        None if there is no snapshot at all.

    Raises
    ------
    ValueError
        If there are snapshots, and all are damaged.
    """
    steps = sorted(_steps(folder), reverse=True)
    for step in steps:
        path = folder / f"step-{step:08d}"
        try:
            return Snapshot(step, path, _read_state(path, device))
        except UNREADABLE as error:
            warn(f"the snapshot {path} is damaged ({_reason(error)}); trying the one before it")
    if steps:
        raise ValueError(f"all snapshots in {folder} are damaged")
    return None


def has_snapshots(folder: Path) -> bool:
    """Tell whether a run has left snapshots here, good or not."""
    return bool(_steps(folder))


def _write_state(path: Path, state: dict[str, Any]) -> None:
    with path.open("wb") as stream:
        torch.save(state, stream)
        stream.flush()
        os.fsync(stream.fileno())


def _is_good(path: Path) -> bool:
    try:
        _check_seal(path)
    except UNREADABLE:
        return False
    return True


def _read_state(path: Path, device: torch.device | str) -> dict[str, Any]:
    _check_seal(path)
    state: dict[str, Any] = torch.load(path / STATE, map_location=device, weights_only=True)
    return state


def _check_seal(path: Path) -> None:
    seal = json.loads((path / SEAL).read_text(encoding="utf-8"))
    if seal["format"] != FORMAT:
        raise ValueError(f"expected format {FORMAT}, got {seal['format']}")
    size, digest = _measure(path / STATE)
    if size != seal["bytes"]:
        raise ValueError(f"expected {seal['bytes']} bytes, got {size}")
    if digest != seal["blake2b"]:
        raise ValueError("its contents do not match their digest")


def _measure(path: Path) -> tuple[int, str]:
    """Return size and digest of a file."""
    digest, size = hashlib.blake2b(digest_size=32), 0
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
    return size, digest.hexdigest()


def _write_synced(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _steps(folder: Path) -> list[int]:
    if not folder.is_dir():
        return []
    names = (NAME.fullmatch(path.name) for path in folder.iterdir())
    return [int(name.group(1)) for name in names if name]


def _reason(error: BaseException) -> str:
    """Say what happened in a few words, looking behind torch's wrapping of a write error."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    return str(error).splitlines()[0] if str(error) else type(error).__name__
