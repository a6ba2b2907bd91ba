import pytest

from triskele.serve.engine.changes import Removed, Stored


@pytest.mark.parametrize("record", [Stored(b"", [], 0), Removed([])])
def test_what_happened_cannot_be_changed(record: Stored | Removed) -> None:
    with pytest.raises(AttributeError):
        record.pages = [1]  # type: ignore[misc]
