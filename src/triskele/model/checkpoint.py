"""A model as a folder that ``transformers``, vLLM and SGLang load, and such folders as a model.

``model.safetensors``, ``config.json`` and, with a tokenizer, ``tokenizer.json`` and
``tokenizer_config.json``. Parameter names need no map: they are Hugging Face's own. Everything is
written and flushed beside its final place first, so that a failure midway, a full disk for one,
leaves an earlier checkpoint as it was.

It does not know about optimizers or progress: to resume training takes more than this.
"""

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from triskele.model.llama_config import from_llama_config, to_llama_config
from triskele.model.tokenizer import BytePairTokenizer
from triskele.model.transformer import Transformer

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
CONFIG = "config.json"
GENERATION_CONFIG = "generation_config.json"
TOKENIZER = "tokenizer.json"
TOKENIZER_CONFIG = "tokenizer_config.json"

HEAD, EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
N_NAMED = 3


def save_checkpoint(
    model: Transformer, directory: str | Path, *, tokenizer: BytePairTokenizer | None = None
) -> None:
    """Write a model as a Hugging Face folder, of Llama, Qwen2 or Qwen3 by its configuration.

    Parameters
    ----------
    model : Transformer
        Weights are written in the precision they have.
    directory : str or Path
        Made if absent. In an existing one these files are replaced and others left alone.
    tokenizer : BytePairTokenizer, optional
        Saved with it.

    Raises
    ------
    ValueError
        When `model` is a wrapper (of ``torch.compile``, of DDP), its weights differ in precision,
        or the tokenizer has more ids than the model has rows.
    OSError
        When the disk is full or the folder cannot be written; nothing has changed then.
    """
    if not isinstance(model, Transformer):
        raise ValueError(
            f"expected a Transformer, got {type(model).__name__}; pass the model inside the wrapper"
        )
    if tokenizer is not None and tokenizer.vocab_size > model.config.vocab_size:
        raise ValueError(
            f"the tokenizer has {tokenizer.vocab_size} ids, "
            f"more than the model's vocabulary of {model.config.vocab_size}"
        )
    tensors = {name: tensor.detach().contiguous() for name, tensor in model.state_dict().items()}
    if model.config.tie_embeddings:
        del tensors[HEAD]
    dtypes = {tensor.dtype for tensor in tensors.values()}
    if len(dtypes) > 1:
        raise ValueError(f"expected weights of one precision, got {_listed(map(str, dtypes))}")

    target = Path(directory)
    staging = (target if target.is_dir() else target.parent) / f".{target.name}.{os.getpid()}.part"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        _write_texts(staging, model, tokenizer, dtype=dtypes.pop())
        _write_weights(staging / WEIGHTS, tensors)
        _put(staging, target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def load_checkpoint(directory: str | Path, *, dtype: torch.dtype | None = None) -> Transformer:
    """Read a folder by `save_checkpoint`, or by Hugging Face for Llama, Mistral, Qwen2 or Qwen3.

    Parameters
    ----------
    directory : str or Path
        Holds ``config.json`` and safetensors, in one file or in shards with their index.
    dtype : torch.dtype, optional
        Of the model; as stored when absent.

    Returns
    -------
    Transformer
        On the CPU.

    Raises
    ------
    ValueError
        When a file is missing or damaged, the architecture is another, or a tensor is missing, has
        another shape or an unexpected name. One line says which.
    """
    directory = Path(directory)
    with torch.device("meta"):
        model = Transformer(from_llama_config(_read_json(directory / CONFIG)))
    tied = model.config.tie_embeddings
    expected = {name: tensor.shape for name, tensor in model.state_dict().items()}
    if tied:
        del expected[HEAD]
    tensors: dict[str, Tensor] = {}
    for name, tensor in _stored_tensors(directory):
        if name.endswith("rotary_emb.inv_freq") or (tied and name == HEAD):
            continue
        if name not in expected:
            raise ValueError(f"{directory} holds {name}, which this architecture does not have")
        if tensor.shape != expected[name]:
            raise ValueError(
                f"{name} in {directory}: expected shape {tuple(expected[name])}, "
                f"got {tuple(tensor.shape)}"
            )
        if tensor.dtype not in DTYPES:
            raise ValueError(
                f"{name} in {directory}: expected {_listed(map(str, DTYPES))}, got {tensor.dtype}"
            )
        tensors[name] = tensor
    if missing := expected.keys() - tensors.keys():
        raise ValueError(f"{directory} lacks {_listed(missing)}")

    dtype = dtype or tensors[EMBEDDING].dtype
    tensors = {name: tensor.to(dtype) for name, tensor in tensors.items()}
    if tied:
        tensors[HEAD] = tensors[EMBEDDING]
    model.load_state_dict(tensors, assign=True)
    if tied:
        model.lm_head.weight = model.model.embed_tokens.weight
    return model


def load_end_ids(directory: str | Path) -> frozenset[int]:
    """Return the ids after which a model has said what it has to say.

    All that ``config.json`` and ``generation_config.json`` name: models that converse end their
    turns with other tokens than documents.

    Raises
    ------
    ValueError
        When a file is damaged or names something other than ids.
    """
    found: set[int] = set()
    for name in (CONFIG, GENERATION_CONFIG):
        path = Path(directory) / name
        if name == GENERATION_CONFIG and not path.is_file():
            continue
        stated = _read_json(path).get("eos_token_id")
        ids = stated if isinstance(stated, list) else [] if stated is None else [stated]
        if any(type(id) is not int for id in ids):
            raise ValueError(f"expected ids as eos_token_id in {path}, got {stated!r}")
        found.update(ids)
    return frozenset(found)


def _write_texts(
    staging: Path, model: Transformer, tokenizer: BytePairTokenizer | None, *, dtype: torch.dtype
) -> None:
    """Write everything but the weights."""
    eos_id = None if tokenizer is None else tokenizer.eos_id
    config = to_llama_config(model.config, dtype=str(dtype).removeprefix("torch."), eos_id=eos_id)
    _write_json(staging / CONFIG, config)
    if tokenizer is None:
        return
    (staging / TOKENIZER).write_text(tokenizer.to_json(), encoding="utf-8")
    described = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": tokenizer.eos_token,
        "eos_token": tokenizer.eos_token,
        "model_max_length": model.config.max_seq_len,
        "clean_up_tokenization_spaces": False,
    }
    _write_json(staging / TOKENIZER_CONFIG, described)


def _write_weights(path: Path, tensors: dict[str, Tensor]) -> None:
    try:
        safetensors.torch.save_file(tensors, path, metadata={"format": "pt"})
    except safetensors.SafetensorError as error:
        raise OSError(f"cannot write {path}: {error}") from error


def _put(staging: Path, target: Path) -> None:
    """Flush the staged files to disk, then give them their names, which cannot half succeed."""
    for path in staging.iterdir():
        _flush(path)
    _flush(staging)
    if target.is_dir():
        for path in staging.iterdir():
            path.replace(target / path.name)
        _flush(target)
    else:
        staging.replace(target)
        _flush(target.parent)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _stored_tensors(directory: Path) -> Iterator[tuple[str, Tensor]]:
    """Read tensor after tensor, from the one file or from every shard of the index."""
    names = [WEIGHTS]
    if not (directory / WEIGHTS).is_file() and (directory / INDEX).is_file():
        names = sorted(set(_read_json(directory / INDEX)["weight_map"].values()))
    for name in names:
        path = directory / Path(name).name
        if not path.is_file():
            raise ValueError(f"expected weights in {path}, which does not exist")
        try:
            with safetensors.safe_open(path, framework="pt") as stored:
                for key in stored.keys():  # noqa: SIM118
                    yield key, stored.get_tensor(key)
        except safetensors.SafetensorError as error:
            raise ValueError(f"{path} is damaged or no safetensors file: {error}") from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ValueError(
            f"expected a checkpoint folder with {path.name}, {path} does not exist"
        ) from error
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"expected an object in {path}, got {type(content).__name__}")
    return content


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _listed(names: Iterable[str]) -> str:
    """Name a few of many, in one line."""
    ordered = sorted(names)
    more = f" and {len(ordered) - N_NAMED} more" if len(ordered) > N_NAMED else ""
    return ", ".join(ordered[:N_NAMED]) + more
