from prometheus_client.parser import text_string_to_metric_families
from tests.serve.engine.models import drain, tiny_engine

from triskele.serve.engine import SamplingParams
from triskele.serve.engine.exposition import expose


def test_prometheus_reads_what_the_engine_counts() -> None:
    engine = tiny_engine()
    for id in "ab":
        engine.add(id, [1] * 9, SamplingParams(temperature=0, max_tokens=3))
    drain(engine)
    text = expose(engine, model='a "model"').decode()
    found = {
        sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.labels == {"model": 'a "model"'}
    }
    assert found["triskele_engine_requests_running"] == 0
    assert found["triskele_engine_cache_pages"] == 64
    assert found["triskele_engine_cache_pages_used"] == engine.cache.n_pages
    assert found["triskele_engine_prompt_tokens_total"] == 18
    assert found["triskele_engine_hit_tokens_total"] == 8
    assert found["triskele_engine_generated_tokens_total"] == 6
    assert found["triskele_engine_preemptions_total"] == 0
    assert len(found) == 14
