"""The requests of a simulated workload, as bodies that an OpenAI-compatible worker takes."""

import json

import numpy as np

from triskele.serve.simulate import Job, SharedPrefix

N_BYTES = 256
"""Token ids below it are bytes, which every model of random weights has."""
PREFIX, QUESTION = 0, 1


def tokens_of(workload: SharedPrefix, job: Job) -> list[int]:
    """Return a prompt's tokens: those of its group's prefix, then its own."""
    seed, n_prefix = workload.seed, round(workload.ratio * job.n_prompt)
    prefix = np.random.default_rng((seed, PREFIX, job.id // workload.prompts_per_group))
    question = np.random.default_rng((seed, QUESTION, job.id))
    parts = (prefix, n_prefix), (question, job.n_prompt - n_prefix)
    return [token for rng, n in parts for token in rng.integers(N_BYTES, size=n).tolist()]


def body_of(workload: SharedPrefix, job: Job) -> bytes:
    """Return the body that asks for a job's answer as a stream."""
    return json.dumps(
        {
            "prompt": tokens_of(workload, job),
            "max_tokens": job.n_output,
            "temperature": 0,
            "ignore_eos": True,
            "stream": True,
            "stream_options": {"include_usage": True},
            # Bytes at random are seldom whole characters. So every token is an event all the same.
            "logprobs": 0,
        },
        separators=(",", ":"),
    ).encode()
