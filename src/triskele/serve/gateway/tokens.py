"""Prompts as the tokens that workers will see: rendered by the model's template, then tokenized.

With it the pages that routers hash are the pages of the workers' caches, so that what workers tell
of their caches can be matched. It takes about a microsecond per token, and other threads go on
meanwhile.
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
        # What a file says of training batches would cut and fill up prompts.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._template = ChatTemplate.of_folder(folder)

    def of_text(self, text: str) -> bytes:
        """Return the tokens of a prompt, four bytes each.

        Raises
        ------
        ValueError
            When the tokenizer has none for it.
        """
        return self._encode(text, adds_special=True)

    def of_chat(self, messages: Sequence[Mapping[str, Any]]) -> bytes:
        """Return the tokens of a conversation after which the assistant speaks.

        Raises
        ------
        ValueError
            When the template refuses it, or it is not of text alone.
        """
        # The template writes the special tokens itself.
        return self._encode(self._template.render([*map(_plain, messages)]), adds_special=False)

    def _encode(self, text: str, *, adds_special: bool) -> bytes:
        # Half characters are what no tokenizer takes.
        whole = text.encode("utf-8", "replace").decode()
        try:
            # Alone, a text is encoded with the interpreter's lock held: seconds, if it is long.
            (encoded,) = self._tokenizer.encode_batch_fast([whole], add_special_tokens=adds_special)
        except Exception as error:  # the library raises bare exceptions
            raise ValueError(f"there are no tokens for the prompt: {error}") from error
        return token_key(encoded.ids, 1)


def _plain(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a message as workers hand it to a template: its texts joined, none as an empty one."""
    content = message.get("content")
    if isinstance(content, str):
        return message
    parts = content if isinstance(content, list) else [] if content is None else [content]
    texts = [part.get("text") for part in parts if isinstance(part, dict)]
    if len(texts) < len(parts) or not all(isinstance(text, str) for text in texts):
        raise ValueError("expected text alone")
    return {**message, "content": "".join(map(str, texts))}
