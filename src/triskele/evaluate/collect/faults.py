"""How a call can go wrong, told apart by what is to be done about it.

The text of a fault is for people: one line that names the model and the address, and never a key.
"""


class TransientFault(Exception):
    """The same call may succeed later: too many requests, an overload, a broken connection.

    Parameters
    ----------
    reason
        What happened.
    retry_after
        Seconds that the endpoint asks to wait, if it says.
    may_be_billed
        Whether the endpoint may have worked on the call, and count it.
    """

    def __init__(
        self, reason: str, *, retry_after: float | None = None, may_be_billed: bool = False
    ) -> None:
        super().__init__(reason)
        self.retry_after = retry_after
        self.may_be_billed = may_be_billed


class RequestFault(Exception):
    """A call that will never succeed, while others may: too long, or refused by a filter."""


class EndpointFault(Exception):
    """No call to this endpoint will succeed: a wrong key, a wrong address, no money left."""
