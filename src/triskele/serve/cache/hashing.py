"""Page hashes that stand for the page and everything before it, in one pass over the content.

The hash of a page is XXH3 of its bytes, seeded with the hash of the page before. Equal hashes so
mean equal prefixes, to within chance collisions of 64 bits: what routers and block indices need,
which never see the content.
"""

import xxhash
from numpy.typing import ArrayLike

from triskele.serve.cache.radix import TOKEN_BYTES, hash_key, token_key


def chained_hashes(content: bytes, stride: int, *, above: int = 0) -> list[int]:
    """Return one hash per whole page of ``stride`` bytes.

    Parameters
    ----------
    content
        What follows ``above``, from the border of a page on; a partial last page is left out.
    stride
        Bytes per page.
    above
        Hash of the last page before it; 0 at the beginning.
    """
    if stride < 1:
        raise ValueError(f"expected a stride of at least one byte, got {stride}")
    digest = xxhash.xxh3_64_intdigest
    view = memoryview(content)
    hashes = []
    for at in range(0, len(content) - stride + 1, stride):
        above = digest(view[at : at + stride], above)
        hashes.append(above)
    return hashes


def chained_key(tokens: ArrayLike, page_size: int) -> bytes:
    """Return the key of a prompt's whole pages as chained hashes, as routers take it."""
    content = token_key(tokens, page_size)
    return hash_key(chained_hashes(content, TOKEN_BYTES * page_size))
