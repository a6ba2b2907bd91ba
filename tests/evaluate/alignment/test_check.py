import numpy as np
import pytest
from tests.evaluate.runs import as_released, difficult_scores

from triskele.evaluate.alignment.check import AlignmentReport, check_alignment

N, M = 900, 10
RNG = np.random.default_rng(0)
SUBJECTS = RNG.integers(0, 6, N)
CATEGORIES = [f"subject {number}" for number in SUBJECTS]
EMBEDDINGS = np.eye(6)[SUBJECTS] + 0.3 * RNG.standard_normal((N, 6))
DIFFICULTY = RNG.standard_normal(N) + 1.5 * RNG.standard_normal(6)[SUBJECTS]
SCORES = difficult_scores(N, M, seed=1, difficulty=DIFFICULTY)
ONE_TASK = np.zeros(N, np.int64)
MIXED = [1, 2, 4, 8, 8, 1, 3, 1, 8, 2]


def found(report: AlignmentReport) -> list[int]:
    return report.n_ranks.tolist()


def test_scores_in_one_order_are_left_alone() -> None:
    report = check_alignment(SCORES, categories=CATEGORIES, embeddings=EMBEDDINGS)
    assert report.is_aligned
    assert report.warning is None
    assert found(report) == [1] * M
    np.testing.assert_array_equal(report.repaired, SCORES)
    np.testing.assert_array_equal(report.correlations, report.repaired_correlations)
    assert report.mean_correlation > 0.2
    assert report.models == tuple(map(str, range(M)))


def test_runs_of_different_width_are_found_and_put_in_order() -> None:
    released = as_released(SCORES, MIXED, ONE_TASK)
    report = check_alignment(released, models=[f"model {number}" for number in range(M)])
    assert found(report) == MIXED
    assert not report.is_aligned
    np.testing.assert_array_equal(report.repaired, SCORES)
    assert abs(report.mean_correlation) < 0.1
    assert report.repaired_mean_correlation > 0.2
    assert (report.repaired_correlations > 0.3).all()
    assert report.warning is not None
    assert "7 of 10 models" in report.warning
    assert "model 1 (2 ranks)" in report.warning
    assert "and 1 more" in report.warning
    assert "\n" not in report.warning


def test_missing_scores_move_with_their_rows() -> None:
    sparse = SCORES.copy()
    sparse[np.random.default_rng(2).random(SCORES.shape) < 0.3] = np.nan
    assert check_alignment(sparse).is_aligned
    report = check_alignment(as_released(sparse, MIXED, ONE_TASK))
    assert found(report) == MIXED
    np.testing.assert_array_equal(report.repaired, sparse)


def test_each_task_is_put_in_order_on_its_own() -> None:
    tasks = np.repeat([0, 1, 2], [401, 299, 200])
    report = check_alignment(as_released(SCORES, MIXED, tasks), blocks=tasks.astype(str).tolist())
    assert found(report) == MIXED
    np.testing.assert_array_equal(report.repaired, SCORES)
    np.testing.assert_array_equal(report.blocks, tasks)


def test_tasks_are_found_among_runs_of_a_label() -> None:
    tasks = np.repeat([0, 1], [500, 400])
    labels = np.repeat(list("abc"), [200, 300, 400])
    report = check_alignment(as_released(SCORES, MIXED, tasks), categories=labels.tolist())
    assert found(report) == MIXED
    np.testing.assert_array_equal(report.repaired, SCORES)
    np.testing.assert_array_equal(report.blocks, tasks)


def test_graded_scores_are_judged_alike() -> None:
    graded = 10 - 3 * DIFFICULTY[:, None] + np.random.default_rng(3).standard_normal((N, M)) * 4
    assert check_alignment(graded).is_aligned
    assert found(check_alignment(as_released(graded, MIXED, ONE_TASK))) == MIXED


@pytest.mark.parametrize("known", [{"categories": CATEGORIES}, {"embeddings": EMBEDDINGS}])
def test_a_wrong_order_of_all_is_seen_by_the_prompts(known: dict[str, object]) -> None:
    released = as_released(SCORES, [4] * M, ONE_TASK)
    report = check_alignment(released, **known)  # type: ignore[arg-type]
    assert found(report) == [4] * M
    np.testing.assert_array_equal(report.repaired, SCORES)
    assert report.association is not None
    assert report.repaired_association is not None
    assert abs(report.association).max() < 4
    assert report.repaired_association.min() > 4
    # Among themselves the models agree as they are.
    assert check_alignment(released).is_aligned


def test_one_model_is_judged_by_its_prompts_alone() -> None:
    one = SCORES[:, :1]
    assert check_alignment(one, categories=CATEGORIES).is_aligned
    report = check_alignment(as_released(one, [4], ONE_TASK), categories=CATEGORIES)
    assert found(report) == [4]
    assert check_alignment(as_released(one, [4], ONE_TASK)).is_aligned


def test_a_good_model_in_an_unknown_order_is_a_stray() -> None:
    shuffled = SCORES.copy()
    best = int(SCORES.mean(axis=0).argmax())
    shuffled[:, best] = SCORES[np.random.default_rng(4).permutation(N), best]
    for known in ({}, {"categories": CATEGORIES, "embeddings": EMBEDDINGS}):
        report = check_alignment(shuffled, **known)  # type: ignore[arg-type]
        assert np.flatnonzero(report.is_stray).tolist() == [best]
        assert found(report) == [1] * M
        assert report.warning is not None
        assert f"in an order that was not found: {best}" in report.warning


def test_models_that_agree_with_each_other_and_with_no_prompt_are_strays() -> None:
    shuffled = SCORES.copy()
    shuffled[:, ::2] = SCORES[np.random.default_rng(5).permutation(N), ::2]
    report = check_alignment(shuffled, categories=CATEGORIES, embeddings=EMBEDDINGS)
    assert np.flatnonzero(report.is_stray).tolist() == [0, 2, 4, 6, 8]


def test_who_guesses_or_is_always_right_or_never_ran_is_no_stray() -> None:
    odd = SCORES.copy()
    odd[:, 0] = np.random.default_rng(6).random(N) < 0.1
    odd[:, 1], odd[:, 2] = 1, np.nan
    report = check_alignment(odd, categories=CATEGORIES, embeddings=EMBEDDINGS)
    assert report.is_aligned
    assert check_alignment(odd).is_aligned


@pytest.mark.parametrize("seed", range(8))
def test_nothing_is_found_in_noise(seed: int) -> None:
    rng = np.random.default_rng(seed)
    noise = (rng.random((300, 20)) < 0.5).astype(float)
    noise[rng.random(noise.shape) < 0.5] = np.nan
    report = check_alignment(noise, categories=list("ab") * 150, embeddings=rng.random((300, 3)))
    assert report.is_aligned


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (5, 0), (1, 1), (2, 3)])
def test_small_matrices_have_an_answer(shape: tuple[int, int]) -> None:
    n = shape[0]
    report = check_alignment(np.ones(shape), categories=["a"] * n, embeddings=np.ones((n, 2)))
    assert report.is_aligned
    assert report.repaired.shape == shape


def test_all_missing_is_nothing_to_put_in_order() -> None:
    assert check_alignment(np.full((50, 4), np.nan)).is_aligned


def test_the_answer_does_not_depend_on_the_order_of_the_models() -> None:
    order = np.random.default_rng(7).permutation(M)
    report = check_alignment(as_released(SCORES, MIXED, ONE_TASK)[:, order])
    assert found(report) == [MIXED[i] for i in order]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scores": np.ones(3)}, r"matrix of scores, \(queries, models\), got \(3,\)"),
        ({"models": ["a"]}, "expected 10 models, got 1"),
        ({"categories": ["a"]}, "expected 900 categories, got 1"),
        ({"blocks": []}, "expected 900 blocks, got 0"),
        ({"embeddings": np.ones((3, 2))}, "expected 900 embeddings, got 3"),
        ({"max_ranks": 0}, "expected max_ranks ≥ 1"),
        ({"level": 1.0}, "0 < level < 1"),
    ],
)
def test_what_does_not_fit_is_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_alignment(**{"scores": SCORES, **options})  # type: ignore[arg-type]
