from dataclasses import replace

import numpy as np

from triskele.evaluate.alignment.findings import AlignmentReport

NAMES = tuple(f"model {number}" for number in range(9))
CLEAN = AlignmentReport.of_nothing(np.zeros((4, 9)), NAMES)


def test_nothing_out_of_order_is_nothing_to_say() -> None:
    assert CLEAN.is_aligned
    assert CLEAN.warning is None


def test_a_warning_names_models_and_ranks_and_not_too_many() -> None:
    report = replace(CLEAN, n_ranks=np.array([1, 2, 8, 8, 8, 4, 4, 2, 2]))
    assert not report.is_aligned
    assert report.warning == (
        "the scores do not belong to the same queries in the same rows: 8 of 9 models seem to be "
        "in the order of a data-parallel run, rank after rank: model 1 (2 ranks), "
        "model 2 (8 ranks), model 3 (8 ranks), model 4 (8 ranks), model 5 (4 ranks), "
        "model 6 (4 ranks) and 2 more; put in order, two models correlate by 0.00 instead of 0.00"
    )


def test_strays_are_told_beside_the_others() -> None:
    stray = np.arange(9) == 3
    only = replace(CLEAN, is_stray=stray)
    assert not only.is_aligned
    assert (only.warning or "").endswith("rows: in an order that was not found: model 3")
    both = replace(only, n_ranks=np.arange(1, 10))
    assert (both.warning or "").endswith("; in an order that was not found: model 3")
