import numpy as np
import pytest
from tests.evaluate.runs import difficult_scores

from triskele.evaluate.alignment.interleaving import standardized
from triskele.evaluate.alignment.prompt_association import PromptAssociation, nearest_neighbours

RNG = np.random.default_rng(0)
SUBJECTS = np.repeat(np.arange(5), 80)
BLOCKS = np.zeros(400, np.int64)
CATEGORIES = [f"subject {number}" for number in SUBJECTS]
EMBEDDINGS = np.eye(5)[SUBJECTS] + 0.2 * RNG.standard_normal((400, 5))
BY_SUBJECT = difficult_scores(400, 6, seed=1, difficulty=RNG.standard_normal(5)[SUBJECTS])


def association(**known: object) -> PromptAssociation:
    if "embeddings" in known:
        neighbours = nearest_neighbours(known.pop("embeddings"), rng=np.random.default_rng(0))  # type: ignore[arg-type]
        known["neighbours"] = neighbours
    return PromptAssociation(known.pop("blocks", BLOCKS), **known)  # type: ignore[arg-type]


KNOWN = [
    {"categories": CATEGORIES},
    {"embeddings": EMBEDDINGS},
    {"categories": CATEGORIES, "embeddings": EMBEDDINGS},
]


@pytest.mark.parametrize("known", KNOWN)
def test_scores_that_depend_on_the_subject_are_associated(known: dict[str, object]) -> None:
    measured = association(**known).measure(standardized(BY_SUBJECT, BLOCKS))
    assert measured.min() > 3


@pytest.mark.parametrize("known", KNOWN)
def test_by_chance_the_measure_is_about_standard_normal(known: dict[str, object]) -> None:
    blocks = np.repeat([0, 1], [150, 250])
    scores = np.random.default_rng(1).random((400, 1000))
    scores[::9, :500] = np.nan
    measured = association(blocks=blocks, **known).measure(standardized(scores, blocks))
    assert abs(measured.mean()) < 0.12
    assert abs(measured.std() - 1) < 0.12


def test_differences_between_tasks_do_not_count() -> None:
    measured = association(blocks=SUBJECTS, embeddings=EMBEDDINGS).measure(
        standardized(BY_SUBJECT, SUBJECTS)
    )
    assert abs(measured).max() < 4


def test_nothing_known_is_nothing_measured() -> None:
    assert not association().knows_something
    assert association(categories=CATEGORIES).knows_something
    assert np.isnan(association().measure(standardized(BY_SUBJECT, BLOCKS))).all()


def test_a_model_of_one_subject_says_nothing_of_subjects() -> None:
    scores = np.where(SUBJECTS[:, None] == 0, BY_SUBJECT, np.nan)
    measured = association(categories=CATEGORIES).measure(standardized(scores, BLOCKS))
    assert np.isnan(measured).all()


def test_labels_that_are_the_tasks_say_nothing() -> None:
    columns = standardized(BY_SUBJECT, SUBJECTS)
    measured = association(blocks=SUBJECTS, categories=CATEGORIES).measure(columns)
    assert np.isnan(measured).all()


def test_neighbours_are_the_nearest_by_cosine() -> None:
    angles = np.arange(12) / 12
    rows = np.stack([np.cos(angles), np.sin(angles)], axis=1) * np.arange(1, 13)[:, None]
    neighbours = nearest_neighbours(rows, rng=np.random.default_rng(0)).toarray()
    assert (neighbours.sum(axis=1) == 10).all()
    assert (neighbours.diagonal() == 0).all()
    # The one that is left out is at the other end.
    assert neighbours[0, 11] == 0
    assert neighbours[11, 0] == 0


@pytest.mark.parametrize("n", [0, 1, 2])
def test_few_prompts_have_few_neighbours(n: int) -> None:
    neighbours = nearest_neighbours(np.ones((n, 3)), rng=np.random.default_rng(0))
    assert neighbours.shape == (n, n)
    assert neighbours.nnz == n * (n - 1)
