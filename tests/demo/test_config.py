import pytest

from triskele.demo.config import DemoConfig, Scale


def test_too_few_steps_are_refused():
    with pytest.raises(ValueError, match="steps must be at least 5, got 4"):
        DemoConfig(steps=4)


def test_prompts_their_continuation_and_the_answer_fit_the_context_of_the_models():
    scale = Scale()
    traffic, context = scale.traffic, scale.training.batch.context
    longest = traffic.first + (traffic.turns - 1) * traffic.more
    assert longest + max(traffic.scored, traffic.output) <= context


def test_the_cache_of_a_worker_holds_several_prompts_and_not_all():
    scale = Scale()
    traffic, hardware = scale.traffic, scale.hardware
    longest = traffic.first + (traffic.turns - 1) * traffic.more
    held = hardware.cache_pages * hardware.page_tokens
    assert 2 * longest < held < traffic.passages * longest
