import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.serve.journal.records import full, record
from tests.serve.journal.test_record import records

from triskele.serve.journal import Record
from triskele.serve.journal.columns import SCHEMA, to_batch, to_records


@settings(deadline=None)
@given(st.lists(records, max_size=5))
def test_columns_and_back_are_the_same_records(some: list[Record]) -> None:
    assert list(to_records(to_batch(some))) == some


def test_there_is_a_column_for_every_field_in_its_order() -> None:
    assert SCHEMA.names == list(Record.__struct_fields__)
    for field in SCHEMA:
        is_optional = field.name in ("n_retries", "stream") or not field.nullable
        assert is_optional or getattr(record(1), field.name) is None


def test_a_batch_of_an_older_and_of_a_newer_version_can_be_read() -> None:
    batch = to_batch([full(1), record(2)])
    older = batch.drop_columns(["session", "n_retries"])
    newer = older.append_column("something_new", pa.array([1, 2]))
    for other in (older, newer):
        one, two = to_records(other)
        assert (one.id, one.session, one.n_retries, one.prompt) == ("1", None, 0, full(1).prompt)
        assert two == record(2)
