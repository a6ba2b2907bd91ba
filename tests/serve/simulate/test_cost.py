from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from triskele.serve.simulate.cost import COSTS, CostModel, fit_cost

HEADER = "n_tokens,n_attended,n_kv,milliseconds"
WITHOUT_FLOOR = CostModel(0.1, 0.0, 5.0, 1e-6, 1e-4)


def measured(path: Path, cost: CostModel, *, noise: float = 0.0, n: int = 400) -> Path:
    """Write steps of up to 200 answers and a chunk of a prompt, as an engine would measure them."""
    rng = np.random.default_rng(0)
    lines = [HEADER]
    for _ in range(n):
        n_answers, n_new = int(rng.integers(0, 200)), int(rng.choice([0, 0, 64, 512, 2048, 8192]))
        n_tokens = max(1, n_answers + n_new)
        n_attended = n_new * (n_new / 2 + int(rng.integers(0, 8000)))
        n_kv = n_answers * int(rng.integers(100, 4000))
        time = 1e3 * cost.seconds(n_tokens, n_attended, n_kv) * (1 + noise * rng.normal())
        lines.append(f"{n_tokens},{n_attended},{n_kv},{time}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def typical_steps(cost: CostModel) -> list[float]:
    """Return the times of steps of answers, of a prompt, and of both."""
    steps = [(1, 0.0, 500.0), (64, 0.0, 1e5), (1024, 1024 * 1024 / 2, 0.0), (8192, 5e7, 2e5)]
    return [cost.seconds(*step) for step in steps]


@pytest.mark.parametrize("cost", [*COSTS.values(), WITHOUT_FLOOR], ids=[*COSTS, "without floor"])
def test_a_fit_finds_the_coefficients_that_the_steps_were_made_of(
    cost: CostModel, tmp_path: Path
) -> None:
    fitted = fit_cost(measured(tmp_path / "steps.csv", cost), kv_tokens=cost.kv_tokens)
    for name in ("token", "weights", "overhead", "attention", "cache", "kv_tokens"):
        expected = getattr(cost, name)
        assert getattr(fitted, name) == pytest.approx(expected, rel=1e-3, abs=1e-9), name


@pytest.mark.parametrize("cost", [*COSTS.values(), WITHOUT_FLOOR], ids=[*COSTS, "without floor"])
def test_a_fit_to_noisy_steps_predicts_what_is_behind_the_noise(
    cost: CostModel, tmp_path: Path
) -> None:
    fitted = fit_cost(measured(tmp_path / "steps.csv", cost, noise=0.02))
    assert fitted.token == pytest.approx(cost.token, rel=0.02)
    assert fitted.cache == pytest.approx(cost.cache, rel=0.03)
    floor = fitted.weights + fitted.overhead
    assert floor == pytest.approx(cost.weights + cost.overhead, rel=0.02)
    assert typical_steps(fitted) == pytest.approx(typical_steps(cost), rel=0.01)


def test_the_columns_may_come_in_any_order_among_others(tmp_path: Path) -> None:
    path = measured(tmp_path / "steps.csv", WITHOUT_FLOOR)
    lines = [line.split(",")[::-1] for line in path.read_text(encoding="utf-8").splitlines()]
    turned = "\n".join(",".join([*values, "x"]) for values in lines)
    # As spreadsheets write it, with a byte order mark.
    (tmp_path / "turned.csv").write_text(turned, encoding="utf-8-sig")
    assert fit_cost(tmp_path / "turned.csv") == fit_cost(path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("64,0,oops,7", "line 4: expected four numbers, got .*oops"),
        ("64,0,7", "line 4: expected four numbers"),
        ("64,0,0,7,5", "line 4: expected no more values than names"),
        ("64,-1,0,7", "line 4: expected counts of at least 0"),
        ("64,0,0,0", "line 4: .* a time above 0"),
        ("64,0,nan,7", "line 4: expected counts of at least 0"),
    ],
)
def test_a_bad_line_is_named(line: str, message: str, tmp_path: Path) -> None:
    path = measured(tmp_path / "steps.csv", WITHOUT_FLOOR, n=10)
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([*lines[:3], line, *lines[3:]]), encoding="utf-8")
    with pytest.raises(ValueError, match=message) as caught:
        fit_cost(path)
    assert str(path) in str(caught.value)


def test_a_file_without_the_columns_or_with_too_few_steps_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "steps.csv"
    for text in ("", "n_tokens,n_attended,milliseconds\n1,2,3\n"):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(ValueError, match="expected columns n_tokens, n_attended, n_kv, milli"):
            fit_cost(path)
    with pytest.raises(ValueError, match="at least eight measured steps, got 7"):
        fit_cost(measured(path, WITHOUT_FLOOR, n=7))


def test_the_time_of_a_step_is_the_sum_of_its_parts() -> None:
    cost = CostModel(0.1, 10.0, 2.0, 1e-3, 1e-2)
    # The weights are read once, however few tokens there are.
    assert cost.seconds(1, 0, 0) == cost.seconds(100, 0, 0) == pytest.approx(0.012)
    assert cost.seconds(200, 0, 0) == pytest.approx(0.022)
    assert cost.seconds(200, 500, 0) == pytest.approx(0.0225)
    assert cost.seconds(200, 500, 30) == pytest.approx(0.0228)


def test_the_work_of_a_prompt_is_what_its_steps_take_without_fixed_costs() -> None:
    cost = CostModel(0.1, attention=1e-3)
    for n_cached in (0, 64, 999):
        for chunk in (1000, 100, 7):
            seconds, context = 0.0, n_cached
            while context < 1000:
                n_new = min(chunk, 1000 - context)
                context += n_new
                seconds += cost.seconds(n_new, n_new * (context - n_new / 2), 0)
            assert seconds == pytest.approx(cost.prompt_seconds(1000, n_cached))
    with_fixed_costs = replace(cost, weights=50.0, overhead=3.0, cache=1.0)
    assert with_fixed_costs.prompt_seconds(1000, 64) == cost.prompt_seconds(1000, 64)


def test_a_presets_prefill_is_as_fast_as_its_source_says() -> None:
    rates = {name: 1000 / cost.token for name, cost in COSTS.items()}
    assert rates["llama-8b-a100"] == pytest.approx(15_000, rel=0.01)
    assert rates["llama-8b-h100"] == pytest.approx(45_000, rel=0.02)
    assert rates["llama-8b-l40-all-in"] == pytest.approx(6_400, rel=0.01)


@pytest.mark.parametrize(
    ("coefficients", "message"),
    [
        ({"token": -1.0}, "token to be at least 0, got -1"),
        ({"token": float("nan")}, "token to be at least 0, got nan"),
        ({"token": 1.0, "cache": float("inf")}, "cache to be at least 0, got inf"),
        ({"token": 0.0, "attention": 1.0}, "an iteration that takes time"),
        ({"token": 1.0, "kv_tokens": 0}, "room for at least one token, got 0"),
    ],
)
def test_a_cost_model_that_cannot_be_is_refused(
    coefficients: dict[str, float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        CostModel(**coefficients)
