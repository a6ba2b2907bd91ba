import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.evaluate.collect.calls import prompts

from triskele.evaluate.collect.pairs import Comparison, read_pairs, sample_pairs


@given(st.integers(0, 6), st.integers(2, 6), st.integers(1, 20), st.integers())
def test_each_prompt_gets_so_many_different_pairs(
    n_prompts: int, n_models: int, per_prompt: int, seed: int
) -> None:
    asked, labels = prompts(n_prompts), [f"m{number}" for number in range(n_models)]
    drawn = sample_pairs(asked, labels, per_prompt=per_prompt, rng=random.Random(seed))
    n_pairs = min(per_prompt, n_models * (n_models - 1) // 2)
    counts = Counter(one.prompt.id for one in drawn)
    assert counts == {prompt.id: n_pairs for prompt in asked}
    pairs = {(one.prompt.id, frozenset((one.model_a, one.model_b))) for one in drawn}
    assert len(pairs) == len(drawn)
    assert all(one.model_a != one.model_b for one in drawn)


def draw(asked: list, seed: int = 3) -> set[Comparison]:
    return set(sample_pairs(asked, list("abcde"), per_prompt=3, rng=random.Random(seed)))


def test_the_same_seed_draws_the_same_and_another_other_pairs() -> None:
    assert draw(prompts(20)) == draw(prompts(20))
    assert draw(prompts(20)) != draw(prompts(20), seed=4)


def test_prompts_that_are_added_or_moved_leave_the_other_pairs_alone() -> None:
    asked = prompts(20)
    assert draw(asked[5:]) < draw(asked)
    assert draw(asked[::-1]) == draw(asked)


def test_all_pairs_are_equally_likely() -> None:
    drawn = sample_pairs(prompts(3000), list("abcd"), per_prompt=2, rng=random.Random(0))
    counts = Counter((one.model_a, one.model_b) for one in drawn)
    assert len(counts) == 6
    assert all(900 < count < 1100 for count in counts.values())


@pytest.mark.parametrize(("labels", "per_prompt"), [(["a"], 1), ([], 1), (["a", "b"], 0)])
def test_nothing_to_compare_is_an_error(labels: list[str], per_prompt: int) -> None:
    with pytest.raises(ValueError, match="expected at least"):
        sample_pairs(prompts(1), labels, per_prompt=per_prompt, rng=random.Random(0))


def test_pairs_of_a_file_are_for_one_prompt_or_all(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(
        '{"model_a": "a", "model_b": "b"}\n'
        '{"question_id": "q1", "model_a": "c", "model_b": "a"}\n'
        '{"question_id": "q0", "model_a": "b", "model_b": "a"}\n'
    )
    one, two = asked = prompts(2)
    assert read_pairs(path, asked, ["a", "b", "c"]) == [
        Comparison(one, "a", "b"),
        Comparison(two, "a", "b"),
        Comparison(two, "c", "a"),
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("model_a,model_b\na,a\n", "row 1: model_a and model_b are both 'a'"),
        ("model_a,model_b\na,b\na,x\n", "row 2: no model 'x'; there are: a, b"),
        ("model_a\na\n", "row 1: expected a model in the column model_b"),
        ("question_id,model_a,model_b\nq9,a,b\n", "row 1: no prompt is named 'q9'"),
        ("model_a,model_b\n", "at least one pair"),
    ],
)
def test_what_is_no_pair_is_named(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text(text)
    with pytest.raises(ValueError, match=words):
        read_pairs(tmp_path / "pairs.csv", prompts(2), ["a", "b"])
