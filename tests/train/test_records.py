from dataclasses import FrozenInstanceError, fields
from typing import get_args

import pytest

from triskele.train.records import Notice, Record, discard


def test_a_record_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        Notice(text="said").text = "unsaid"


@pytest.mark.parametrize("kind", get_args(Record))
def test_records_are_made_by_name_only(kind):
    """A reader of the call sees what each number is."""
    values = [None] * len(fields(kind))
    with pytest.raises(TypeError):
        kind(*values)


def test_the_discarding_sink_takes_any_record():
    assert discard(Notice(text="unheard")) is None
