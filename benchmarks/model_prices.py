"""What the models of the score matrices cost: list prices, or billions of parameters.

Models that only their makers serve cost their last list price, three tokens read for each token
written. Models with open weights cost what Together AI asks by their size; those of Open LLM
Leaderboard v2 are the prices that came with its scores, and are the same tariff. The other price of
a model with open weights is how many parameters have to be held in memory.
"""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

READ_PER_WRITTEN = 3

# Dollars per million tokens read and written. Sources: the table of litellm 1.106; OpenAI's and
# Google's last prices of o1-mini and Gemini 1.5; Reka's prices of May 2024; AI21 and Cohere.
LISTED = {
    "c4ai-command-r-v01": (0.5, 1.5),
    "claude-3-5-haiku-20241022": (0.8, 4.0),
    "claude-3-5-sonnet-20240620": (3.0, 15.0),
    "claude-3-5-sonnet-20241022": (3.0, 15.0),
    "claude-3-haiku-20240307": (0.25, 1.25),
    "claude-3-opus-20240229": (15.0, 75.0),
    "deepseek-v2.5-0908": (0.14, 0.28),
    "gemini-1.5-flash": (0.075, 0.3),
    "gemini-1.5-flash-002": (0.075, 0.3),
    "gemini-1.5-pro": (1.25, 5.0),
    "gemini-1.5-pro-002": (1.25, 5.0),
    "gpt-3.5-turbo-0125": (0.5, 1.5),
    "gpt-4o-2024-05-13": (5.0, 15.0),
    "gpt-4o-2024-08-06": (2.5, 10.0),
    "gpt-4o-mini-2024-07-18": (0.15, 0.6),
    "jamba-1.5-large": (2.0, 8.0),
    "Mistral-Large-2": (2.0, 6.0),
    "o1-mini-2024-09-12": (1.1, 4.4),
    "reka-core-20240501": (3.0, 15.0),
    "reka-flash-20240226": (0.8, 2.0),
}
# Together AI's tariff, dollars per million tokens: up to so many billion parameters, ...
BY_SIZE = ((4, 0.1), (8, 0.2), (21, 0.3), (41, 0.8), (80, 0.9), (110, 1.8))
# ... with exceptions by name: mixtures of experts, the newest and the largest. Those with a
# slash are `OPEN_COSTS` in github.com/somerstep/CARROT, carrot/constants.py, where they differ.
BY_NAME = {
    "405B": 3.5,
    "8x22B": 1.2,
    "8x7B": 0.6,
    "Qwen/QwQ-32B": 1.2,
    "Qwen/Qwen2.5-72B": 1.2,
    "Qwen/Qwen2.5-7B": 0.3,
}
# Billions of parameters of open weights whose name does not tell.
SIZES = {
    "8x22B": 141.0,
    "8x7B": 46.7,
    "Mistral-Large-2": 123.0,
    "Phi-3": 3.8,
    "c4ai-command-r-v01": 35.0,
    "deepseek-v2.5": 236.0,
    "jamba-1.5-large": 398.0,
}


def list_prices(models: Sequence[str]) -> NDArray[np.float64]:
    """Return dollars per million tokens, (n_models,)."""
    return np.array([_listed(model) for model in models])


def parameters(models: Sequence[str]) -> NDArray[np.float64]:
    """Return billions of parameters, (n_models,); NaN where the maker keeps them to itself."""
    return np.array([_size(model) for model in models])


def _listed(model: str) -> float:
    if model in LISTED:
        read, written = LISTED[model]
        return (READ_PER_WRITTEN * read + written) / (READ_PER_WRITTEN + 1)
    for part, price in BY_NAME.items():
        if part in model:
            return price
    size = _size(model)
    for most, price in BY_SIZE:
        if size <= most:
            return price
    raise ValueError(f"no price is known of {model!r}")


def _size(model: str) -> float:
    for part, size in SIZES.items():
        if part in model:
            return size
    found = re.search(r"(?<![\d.])(\d+(?:\.\d+)?)[bB](?![a-z])", model)
    return float(found[1]) if found else float("nan")
