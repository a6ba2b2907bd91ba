"""Why the gateway itself does not serve a request: a status, a sentence, and when to try again."""

from math import ceil, inf

from triskele.serve.http import Reply, json_error


class Refusal(Exception):
    """An answer that is not a worker's.

    Parameters
    ----------
    status
        From 400 on.
    message
        One sentence.
    code
        A word for programs.
    retry_after
        Seconds after which to try again.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.retry_after = retry_after

    def send(self, reply: Reply, *, headers: list[tuple[bytes, bytes]]) -> None:
        """Answer with it."""
        fields = list(headers)
        if self.status == 401:
            fields.append((b"www-authenticate", b"Bearer"))
        if self.retry_after is not None and self.retry_after < inf:
            fields.append((b"retry-after", b"%d" % max(1, ceil(self.retry_after))))
        body = json_error(self.status, self.message, code=self.code)
        reply.send(self.status, body, headers=fields)
