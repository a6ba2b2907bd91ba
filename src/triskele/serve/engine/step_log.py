"""Steps as they were measured, in the CSV that ``triskele simulate --hardware`` reads."""

from pathlib import Path

from triskele.serve.engine.batching import Work

COLUMNS = ("n_tokens", "n_attended", "n_kv", "milliseconds")


class StepLog:
    """Writes steps to a file, one a line, each at once.

    Parameters
    ----------
    path
        Of the file; what was there is lost.

    Raises
    ------
    OSError
        When it cannot be written to.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="ascii", buffering=1)
        self._file.write(",".join(COLUMNS) + "\n")

    def add(self, work: Work, seconds: float) -> None:
        """Write a step."""
        n_attended, milliseconds = f"{work.n_attended:.1f}", f"{1e3 * seconds:.3f}"
        self._file.write(f"{work.n_tokens},{n_attended},{work.n_kv},{milliseconds}\n")

    def close(self) -> None:
        """Close the file; there must be no more steps."""
        self._file.close()
