"""Who may send requests, and how many: API keys and their allowances.

Where no keys are configured everybody may, and what clients send as authorization goes on to the
workers; where there are, it is the gateway's own and goes nowhere.
"""

from collections.abc import Callable

from triskele.serve.gateway.keys import ApiKey, Keys, bearer_token
from triskele.serve.gateway.rate import RateLimiter
from triskele.serve.gateway.refusal import Refusal
from triskele.serve.http import HttpRequest


class Access:
    """Lets requests in by key.

    Parameters
    ----------
    keys
        Returns the keys that are valid now; ``None`` where everybody may.
    """

    def __init__(self, keys: Callable[[], Keys | None]) -> None:
        self._keys = keys
        self._limiter = RateLimiter()

    @property
    def is_open(self) -> bool:
        """Whether everybody may."""
        return self._keys() is None

    def identify(self, request: HttpRequest) -> ApiKey | None:
        """Return whose request it is; ``None`` where everybody may.

        Raises
        ------
        Refusal
            401 without a valid key.
        """
        keys = self._keys()
        if keys is None:
            return None
        key = keys.find(bearer_token(request.header(b"authorization")))
        if key is None:
            raise Refusal(401, "expected a valid API key as bearer token", code="invalid_api_key")
        return key

    def admit(self, key: ApiKey | None, n_tokens: int, now: float) -> None:
        """Count a request and its prompt against a key's allowance.

        Raises
        ------
        Refusal
            429 when it is used up.
        """
        if key is None:
            return
        seconds = self._limiter.admit(key.name, key.allowance, n_tokens=n_tokens, now=now)
        if seconds is not None:
            raise Refusal(
                429,
                "the allowance of this API key is used up",
                code="rate_limit_exceeded",
                retry_after=seconds,
            )

    def charge(self, key: ApiKey | None, n_tokens: int, now: float) -> None:
        """Count the tokens of an answer, once they are known."""
        if key is not None and n_tokens:
            self._limiter.charge(key.name, n_tokens=n_tokens, now=now)
