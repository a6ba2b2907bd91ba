"""The workload on which the hosts' own eviction and ours are compared: groups that share a prefix.

128 groups of 32 prompts each in random order; a prompt has 512 to 8192 tokens by its group, and the
first half of them is the group's.
"""

import random

LENGTHS = (512, 1024, 2048, 4096, 8192)


def prompts(seed: int, *, n_groups: int = 128, n_each: int = 32) -> list[list[int]]:
    """Return token ids of every prompt, in order of arrival."""
    rng = random.Random(seed)
    order = [group for group in range(n_groups) for _ in range(n_each)]
    rng.shuffle(order)
    halves = [LENGTHS[group % len(LENGTHS)] // 2 for group in range(n_groups)]
    shared = [[rng.randrange(128_000) for _ in range(half)] for half in halves]
    return [shared[g] + [rng.randrange(128_000) for _ in range(halves[g])] for g in order]
