from dataclasses import FrozenInstanceError

import pytest

from triskele.serve.simulate.workload import Job


def test_a_job_without_a_conversation_or_a_class_needs_neither() -> None:
    job = Job(1, 0.5, b"", b"", 3, 4)
    assert job.session is None
    assert job.kind == ""


def test_what_a_job_will_be_does_not_change() -> None:
    job = Job(1, 0.5, b"", b"", 3, 4)
    with pytest.raises(FrozenInstanceError):
        job.at = 1.0
    assert {job, Job(1, 0.5, b"", b"", 3, 4)} == {job}
