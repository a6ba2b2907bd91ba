"""Prompts as the tokens that workers will see: rendered by the model's template, then tokenized.

With it the pages that routers hash are the pages of the workers' caches, so that what workers tell
of their caches can be matched. It takes about a microsecond per token.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tokenizers

from triskele.serve.cache import token_key
from triskele.serve.chat_template import ChatTemplate

TOKENIZER = "tokenizer.json"


class PromptTokens:
    """Tokenizes prompts as one model's workers do.

    Parameters
    ----------
    folder
        Of a checkpoint: ``tokenizer.json``, and where the model is for chats its template.

    Raises
    ------
    ValueError
        When a file is missing or damaged.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / TOKENIZER
        if not path.is_file():
            raise ValueError(f"expected a {TOKENIZER} in {folder}")
        try:
            self._tokenizer = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare exceptions
            raise ValueError(f"{path} is no tokenizer: {error}") from error
        self._template = ChatTemplate.of_folder(folder)

    def of_text(self, text: str) -> bytes:
        """Return the tokens of a prompt, four bytes each."""
        # Half characters, which JSON can hold, are what no tokenizer takes.
        whole = text.encode("utf-8", "replace").decode()
        return token_key(self._tokenizer.encode(whole).ids, 1)

    def of_chat(self, messages: Sequence[Mapping[str, Any]]) -> bytes:
        """Return the tokens of a conversation after which the assistant speaks.

        Raises
        ------
        ValueError
            When the template refuses it.
        """
        text = self._template.render(messages).encode("utf-8", "replace").decode()
        # The template writes the special tokens itself.
        return token_key(self._tokenizer.encode(text, add_special_tokens=False).ids, 1)
