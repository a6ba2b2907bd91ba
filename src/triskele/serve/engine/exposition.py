"""The engine's figures in Prometheus' text format."""

from triskele.serve.engine.engine import Engine

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"


def expose(engine: Engine, *, model: str) -> bytes:
    """Return what ``/metrics`` answers.

    Parameters
    ----------
    engine
        Read while another thread may be stepping it: every figure is one number, and right on its
        own.
    model
        The label of all of them.
    """
    tally, cache = engine.tally, engine.cache
    n_used = cache.n_pages + cache.n_reserved
    rows: list[tuple[str, str, str, int]] = [
        ("requests_running", "gauge", "Sequences under way", engine.n_running),
        ("requests_waiting", "gauge", "Sequences that wait for room", engine.n_waiting),
        ("cache_pages", "gauge", "Pages of the key-value cache", cache.capacity),
        ("cache_pages_used", "gauge", "Pages cached or reserved", n_used),
        ("cache_pages_reserved", "gauge", "Pages of running sequences", cache.n_reserved),
        ("cache_pages_evicted_total", "counter", "Pages evicted", cache.account.n_evicted),
        ("prompt_tokens_total", "counter", "Tokens of admitted prompts", tally.n_prompt),
        ("hit_tokens_total", "counter", "Of these, found in the cache", tally.n_cached),
        ("generated_tokens_total", "counter", "Tokens of answers", tally.n_generated),
        (
            "computed_tokens_total",
            "counter",
            "Tokens that went through the model",
            tally.n_computed,
        ),
        ("preemptions_total", "counter", "Sequences that lost their pages", tally.n_preempted),
        ("steps_total", "counter", "Forward passes", tally.n_steps),
        ("requests_finished_total", "counter", "Sequences finished", tally.n_finished),
        ("requests_cancelled_total", "counter", "Sequences cancelled", tally.n_cancelled),
    ]
    label = model.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    lines = []
    for name, kind, text, value in rows:
        full = f"triskele_engine_{name}"
        lines += [f"# HELP {full} {text}.", f"# TYPE {full} {kind}"]
        lines.append(f'{full}{{model="{label}"}} {value}')
    return ("\n".join(lines) + "\n").encode()
