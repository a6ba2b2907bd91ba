"""The dashboard: one page that needs nothing from elsewhere, and the headers that hold it to that.

A browser runs no script and applies no style but the two that carry the nonce of this one answer,
connects to nothing but the gateway, and shows the page in no one else's frame. The page writes what
it is told as text; ``require-trusted-types-for`` makes the browser refuse anything else.

The page itself holds no secret and needs no token: it asks for one when the admin API does.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

CONTENT_TYPE = b"text/html; charset=utf-8"
PLACEHOLDER = b"__NONCE__"
NONCE = re.compile(r"[A-Za-z0-9_-]{16,}")


@dataclass(frozen=True, slots=True)
class Page:
    """One answer.

    Attributes
    ----------
    body
        The page, as HTML in UTF-8.
    headers
        All that go with it but its type, :data:`CONTENT_TYPE`, and its length.
    """

    body: bytes
    headers: tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class Dashboard:
    """The page as it lies in the package, its nonces still to be filled in."""

    template: bytes

    @classmethod
    def packaged(cls) -> Self:
        """Read the page from its file, once, so that no request waits for a disk."""
        return cls(Path(__file__).with_name("dashboard.html").read_bytes())

    def page(self, nonce: str) -> Page:
        """Return the page for one answer.

        Parameters
        ----------
        nonce
            Unguessable and never used before: ``secrets.token_urlsafe(16)``.

        Raises
        ------
        ValueError
            If the nonce has fewer than 16 characters or others than ``secrets`` gives, since it
            stands in a header.
        """
        if NONCE.fullmatch(nonce) is None:
            raise ValueError(f"a nonce is 16 or more of A-Z a-z 0-9 _ -, got {len(nonce)} others")
        return Page(
            body=self.template.replace(PLACEHOLDER, nonce.encode("ascii")),
            headers=(
                (b"content-security-policy", _policy(nonce).encode("ascii")),
                (b"cache-control", b"no-store"),
                (b"cross-origin-opener-policy", b"same-origin"),
                (b"referrer-policy", b"no-referrer"),
                (b"x-content-type-options", b"nosniff"),
                (b"x-frame-options", b"DENY"),
            ),
        )


def _policy(nonce: str) -> str:
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src 'nonce-{nonce}'",
            f"style-src 'nonce-{nonce}'",
            "img-src data:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    )
