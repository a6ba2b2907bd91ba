from itertools import product

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from triskele.evaluate.bradley_terry.connectivity import groups, links, separation


@st.composite
def tables(draw: st.DrawFn, *, n_tables: int = 1) -> NDArray[np.float64]:
    n_models = draw(st.integers(1, 7))
    n_wins = n_tables * n_models * n_models
    drawn = draw(st.lists(st.sampled_from([0, 0, 0, 1]), min_size=n_wins, max_size=n_wins))
    wins = np.array(drawn, np.float64).reshape(n_tables, n_models, n_models)
    return np.asarray(wins * ~np.eye(n_models, dtype=bool))


@given(tables(n_tables=3))
def test_groups_are_the_connected_components(wins: NDArray[np.float64]) -> None:
    for table, found in zip(wins, groups(links(wins)), strict=True):
        graph = nx.from_numpy_array(table + table.T)
        for component in nx.connected_components(graph):
            assert {int(found[model]) for model in component} == {min(component)}


def test_a_long_chain_is_one_group() -> None:
    wins = np.diag(np.ones(99), 1)[::-1, ::-1]
    order = np.random.default_rng(0).permutation(100)
    assert not groups(links(wins[np.ix_(order, order)])).any()


def test_what_is_lost_in_rounding_ties_nothing_together() -> None:
    wins = np.array([[0, 1, 0, 0], [1, 0, 1e-20, 0], [0, 0, 0, 1], [0, 0, 1, 0]])
    assert groups(links(wins)).tolist() == [0, 0, 2, 2]
    # But light comparisons are as good as others for a model that has no heavier ones.
    wins[0, 1] = wins[1, 0] = 0
    wins[1, 2] = 1e-20
    assert groups(links(wins)).tolist() == [0, 1, 1, 1]


@given(tables())
def test_models_are_separated_if_some_cut_is_one_sided(tables: NDArray[np.float64]) -> None:
    wins = tables[0]
    n_models = len(wins)
    one_sided = False
    for cut in product([False, True], repeat=n_models):
        inside = np.array(cut)
        for_it, against_it = wins[inside][:, ~inside].any(), wins[~inside][:, inside].any()
        one_sided |= bool(for_it and not against_it)
    found = separation(wins)
    assert (found is not None) == one_sided
    if found is not None:
        unbeaten, winless = (np.isin(np.arange(n_models), part) for part in found)
        assert wins[unbeaten][:, ~unbeaten].any()
        assert not wins[~unbeaten][:, unbeaten].any()
        assert wins[~winless][:, winless].any()
        assert not wins[winless][:, ~winless].any()


def test_who_is_above_and_below_is_named() -> None:
    wins = np.array([[0, 3, 1], [0, 0, 2], [0, 0, 0]])
    found = separation(wins)
    assert found is not None
    assert (found.unbeaten.tolist(), found.winless.tolist()) == ([0], [2])


@pytest.mark.parametrize("n_models", [0, 1])
def test_one_model_or_none_is_not_separated(n_models: int) -> None:
    assert separation(np.zeros((n_models, n_models))) is None
