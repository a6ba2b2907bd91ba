import numpy as np

from triskele.evaluate.embedding.embedder import unit_rows


def test_rows_are_divided_by_their_length_and_zeros_stay() -> None:
    rows = unit_rows(np.array([[3.0, 4.0], [0.0, 0.0]]))
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows, [[0.6, 0.8], [0, 0]], rtol=1e-6)


def test_no_rows_are_no_rows() -> None:
    assert unit_rows(np.zeros((0, 3))).shape == (0, 3)
