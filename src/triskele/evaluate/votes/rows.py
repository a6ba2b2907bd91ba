"""Some rows of a file of votes, with their columns checked: complaints name the line."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from triskele.evaluate.columns import Flags, Floats
from triskele.evaluate.votes.files import VoteFile


@dataclass(frozen=True, slots=True, eq=False)
class VoteRows:
    """Rows as they lie in a file.

    Parameters
    ----------
    file
        Where they are from, for messages.
    columns
        What was read.
    begin
        Rows of the file before them.
    """

    file: VoteFile
    columns: pa.RecordBatch
    begin: int

    def __len__(self) -> int:
        return cast(int, self.columns.num_rows)

    def first_of(self, names: Collection[str]) -> str | None:
        """Return the first of some names that is a column."""
        return next((name for name in names if name in self.columns.schema.names), None)

    def filled(self) -> dict[str, int]:
        """Return the columns with anything in them, and the first row where there is something."""
        return {
            name: int(np.argmax(column.is_valid().to_numpy(zero_copy_only=False)))
            for name, column in zip(self.columns.schema.names, self.columns.columns, strict=True)
            if column.null_count < len(column)
        }

    def texts(self, name: str, *, may_be_empty: bool) -> pa.Array:
        """Return a column as text, numbers as their digits.

        Raises
        ------
        ValueError
            If there is no such column, or a row has nothing there although it must.
        """
        column = self._column(name)
        if pa.types.is_nested(column.type):
            raise ValueError(f"{self.file.path}: expected text in {name}, got {column.type}")
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        texts = column.cast(pa.large_string())
        try:
            texts.validate(full=True)
        except pa.ArrowInvalid as error:
            raise ValueError(f"{self.file.path}: {name} is not UTF-8: {error}") from None
        texts = pc.fill_null(texts, "")
        if not may_be_empty:
            is_given = pc.not_equal(texts, "").to_numpy(zero_copy_only=False)
            self.require(is_given, lambda _: f"expected {name}, got nothing")
        return texts

    def numbers(self, name: str) -> Floats:
        """Return a column of finite numbers.

        Raises
        ------
        ValueError
            If there is no such column, or a row has something else there.
        """
        column = self._column(name)
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        if pa.types.is_boolean(column.type):
            column = column.cast(pa.uint8())
        try:
            values: Floats = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            values = np.array([_number(value) for value in column.to_pylist()])
        self.require(
            np.isfinite(values),
            lambda row: f"expected {name} to be a finite number, got {column[row].as_py()!r}",
        )
        return values

    def numbered(self) -> pa.Array:
        """Return a name for each row that no other row of a folder has."""
        numbers = pa.array(np.arange(self.begin, self.begin + len(self)) + 1)
        return pc.binary_join_element_wise(
            pa.scalar(f"{self.file.path.name}:", pa.large_string()),
            numbers.cast(pa.large_string()),
            pa.scalar("", pa.large_string()),
        )

    def require(self, is_right: Flags, complaint: Callable[[int], str]) -> None:
        """Raise for the first row that is not right, with what there is to say about it."""
        if not is_right.all():
            row = int(np.argmin(is_right))
            raise ValueError(f"{self.file.place(self.begin + row)}: {complaint(row)}")

    def _column(self, name: str) -> pa.Array:
        if name not in self.columns.schema.names:
            present = ", ".join(self.columns.schema.names) or "none of those it may have"
            raise ValueError(f"{self.file.path}: expected a column {name}, got {present}")
        return self.columns[name]


def _number(value: object) -> float:
    try:
        return float(cast(str, value))
    except (TypeError, ValueError):
        return np.nan
