"""From what the user has to what a run reads: text or shards in, tokens out, some of them held out.

Text is tokenized once, into ``OUT/tokens``; a run that is started or resumed on the same text finds
the tokens there. The folder appears complete or not at all. Ready shards are used where they lie.
Nothing here knows of models, except how long a sequence must at least fit.
"""

import json
import math
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from triskele.model import BytePairTokenizer, load_tokenizer, train_tokenizer
from triskele.train.config import SIZES, TextOptions, TrainConfig
from triskele.train.corpus import Corpus, Piece, is_held_out, open_corpus, uniform
from triskele.train.records import Notice, Progress, Sink
from triskele.train.shards import ShardWriter, TokenShards

MANIFEST, TOKENIZER = "tokens.json", "tokenizer.json"
TRAIN, VALIDATION = "train", "val"
PIECES_AT_ONCE = 256
PIECES_HELD_OUT_AT_LEAST = 2
"""Of texts in so few pieces that fewer than this are to be expected, the end is held out."""
PROBE_TOKENS = 100_000
"""Of ready shards so many are decoded, to find out how long a token is."""
GPT2_VOCABULARY = 50304
"""For shards without a tokenizer: GPT-2's 50257, rounded up to a multiple of 128."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """The tokens of a run.

    ``bytes_per_token`` is that of the validation tokens, None where the text is unknown;
    ``tokenizer`` is None for shards that come without one;
    ``fingerprint`` changes when the data does.
    """

    train: TokenShards
    validation: TokenShards
    vocab_size: int
    bytes_per_token: float | None
    tokenizer: BytePairTokenizer | None
    fingerprint: str


def prepare(config: TrainConfig, *, context: int, sink: Sink) -> Dataset:
    """Find or make the tokens for a run.

    Parameters
    ----------
    config
        Where the data is and how to tokenize it.
    context
        Length of the sequences; the training and the validation part must each fit one.
    sink
        Told of progress.

    Raises
    ------
    ValueError
        If there is no data, too little, or it does not fit what a resumed run has used.
    """
    if not config.data.exists():
        raise ValueError(f"{config.data} does not exist")
    if _shard_paths(config.data):
        return _from_shards(config, context=context)
    return _from_text(config, context=context, sink=sink)


def _from_text(config: TrainConfig, *, context: int, sink: Sink) -> Dataset:
    folder = config.out / "tokens"
    corpus = open_corpus(config.data, leave_out=config.out)
    held_out = None if config.text.validation is None else open_corpus(config.text.validation)
    request = _request(config, corpus, held_out)
    manifest = _read_manifest(folder)
    if manifest is None or manifest["request"] != request:
        if manifest is not None and config.resume:
            raise ValueError(_changed(manifest["request"], request))
        manifest = _tokenize(config, folder, corpus, held_out, request, sink)
    train = TokenShards([folder / name for name in manifest["train"]])
    validation = TokenShards([folder / name for name in manifest["validation"]])
    bytes_per_token = manifest["validation_bytes"] / max(1, len(validation))
    if len(validation) <= context:
        wanted = max(context + 1, round(config.text.validation_share * len(train)))
        train, validation = _carve(train, wanted, config.data)
        bytes_per_token = manifest["train_bytes"] / manifest["n_train"]
    _check_length(train, context, config.data)
    return Dataset(
        train=train,
        validation=validation,
        vocab_size=manifest["vocab_size"],
        bytes_per_token=bytes_per_token,
        tokenizer=load_tokenizer(folder / TOKENIZER),
        fingerprint=f"{request['data']} {manifest['n_train']} {manifest['vocab_size']}",
    )


def _from_shards(config: TrainConfig, *, context: int) -> Dataset:
    paths = _shard_paths(config.data)
    folder = config.data if config.data.is_dir() else config.data.parent
    held_out = [path for path in paths if VALIDATION in path.name.lower()]
    if config.text.validation is not None:
        held_out = _shard_paths(config.text.validation)
        if not held_out:
            raise ValueError(f"{config.text.validation} holds no .bin shards, but the data does")
    train = TokenShards([path for path in paths if path not in held_out])
    if held_out:
        validation = TokenShards(held_out)
    else:
        wanted = max(context + 1, round(config.text.validation_share * len(train)))
        train, validation = _carve(train, wanted, config.data)
    _check_length(train, context, config.data)
    _check_length(validation, context, held_out[0].parent if held_out else config.data)
    path = config.text.tokenizer
    if path is None and (folder / TOKENIZER).is_file():
        path = folder / TOKENIZER
    tokenizer = None if path is None else load_tokenizer(path)
    vocab_size, bytes_per_token = config.text.vocab_size or GPT2_VOCABULARY, None
    if tokenizer is not None:
        vocab_size = tokenizer.vocab_size
        ids = validation.read(0, min(len(validation), PROBE_TOKENS))
        text = tokenizer.decode(ids.tolist())
        bytes_per_token = len(text.encode()) / len(ids)
    return Dataset(
        train=train,
        validation=validation,
        vocab_size=vocab_size,
        bytes_per_token=bytes_per_token,
        tokenizer=tokenizer,
        fingerprint=" ".join(f"{p.name}:{p.stat().st_size}" for p in paths),
    )


def _tokenize(
    config: TrainConfig,
    folder: Path,
    corpus: Corpus,
    held_out: Corpus | None,
    request: dict[str, Any],
    sink: Sink,
) -> dict[str, Any]:
    """Write tokenizer and shards into a hidden folder, then give it its name."""
    partial = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        share = 0.0 if held_out is not None else _document_share(config.text, corpus)
        tokenizer = _make_tokenizer(config.text, request["vocab_size"], corpus, share, sink)
        tokenizer.save(partial / TOKENIZER)
        vocab_size = tokenizer.vocab_size
        with (
            ShardWriter(partial, TRAIN, vocab_size=vocab_size) as train,
            ShardWriter(partial, VALIDATION, vocab_size=vocab_size) as validation,
        ):
            n_bytes = _write(corpus, tokenizer, train, validation, share, sink)
            if held_out is not None:
                n_bytes[1] += _write(held_out, tokenizer, validation, validation, 0.0, sink)[0]
        manifest = {
            "request": request,
            "vocab_size": vocab_size,
            "train": [path.name for path in train.paths],
            "validation": [path.name for path in validation.paths],
            "n_train": train.n_tokens,
            "n_validation": validation.n_tokens,
            "train_bytes": n_bytes[0],
            "validation_bytes": n_bytes[1],
        }
        (partial / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    sink(Notice(text=f"tokenizer (vocabulary {vocab_size:,}) and tokens are in {folder}"))
    return manifest


def _document_share(options: TextOptions, corpus: Corpus) -> float:
    """Return the share of pieces to hold out: none if there are too few for chance to be fair.

    A single book must not fall on the validation side whole; its end is held out instead.
    """
    fair = math.ceil(PIECES_HELD_OUT_AT_LEAST / options.validation_share)
    n_pieces = sum(1 for _ in islice(corpus, fair))
    return options.validation_share if n_pieces == fair else 0.0


def _make_tokenizer(
    options: TextOptions, vocab_size: int, corpus: Corpus, share: float, sink: Sink
) -> BytePairTokenizer:
    """Load the given tokenizer or train one on a sample of the training pieces."""
    if options.tokenizer is not None:
        return load_tokenizer(options.tokenizer)
    rate = options.sample_bytes / corpus.n_bytes
    stage = "training the tokenizer"

    def sample() -> Iterator[str]:
        for piece in corpus:
            sink(Progress(stage=stage, done=piece.position, total=corpus.n_bytes))
            in_training = not is_held_out(piece.text, share)
            if in_training and uniform(piece.text, salt=b"tokenizer") < rate:
                yield piece.text
        sink(Progress(stage=stage, done=corpus.n_bytes, total=corpus.n_bytes))

    return train_tokenizer(sample(), vocab_size=vocab_size)


def _write(
    corpus: Corpus,
    tokenizer: BytePairTokenizer,
    train: ShardWriter,
    validation: ShardWriter,
    share: float,
    sink: Sink,
) -> list[int]:
    """Tokenize all pieces; return the bytes of text that went to training and validation."""
    n_bytes = [0, 0]
    pieces = iter(corpus)
    while chunk := list(islice(pieces, PIECES_AT_ONCE)):
        encoded = tokenizer.encode_batch([piece.text for piece in chunk])
        for piece, ids in zip(chunk, encoded, strict=True):
            held_out = is_held_out(piece.text, share)
            writer = validation if held_out else train
            writer.write(_with_end(ids, piece, tokenizer.eos_id))
            n_bytes[held_out] += len(piece.text.encode("utf-8", "surrogatepass"))
        done = min(chunk[-1].position, corpus.n_bytes)
        sink(Progress(stage="tokenizing", done=done, total=corpus.n_bytes))
    sink(Progress(stage="tokenizing", done=corpus.n_bytes, total=corpus.n_bytes))
    return n_bytes


def _with_end(ids: list[int], piece: Piece, separator: int | None) -> list[int]:
    return [*ids, separator] if piece.ends_document and separator is not None else ids


def _carve(train: TokenShards, wanted: int, source: Path) -> tuple[TokenShards, TokenShards]:
    """Hold out the last tokens where no document was held out."""
    if len(train) < 2 * wanted:
        raise ValueError(
            f"{source} is too short: {len(train)} tokens, at least {2 * wanted} are needed "
            "for this context; lower --batch.context or --text.vocab-size"
        )
    return train.slice(0, len(train) - wanted), train.slice(len(train) - wanted, len(train))


def _check_length(tokens: TokenShards, context: int, source: Path) -> None:
    if len(tokens) <= context:
        raise ValueError(
            f"{source} is too short: {len(tokens)} tokens, a sequence needs {context + 1}"
        )


def _shard_paths(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(path.glob("*.bin"))
    return [path] if path.suffix == ".bin" else []


def _request(config: TrainConfig, corpus: Corpus, held_out: Corpus | None) -> dict[str, Any]:
    """Everything the tokens depend on."""
    text = config.text
    return {
        "data": corpus.fingerprint(),
        "validation": None if held_out is None else held_out.fingerprint(),
        "tokenizer": None if text.tokenizer is None else load_tokenizer(text.tokenizer).to_json(),
        "vocab_size": text.vocab_size or SIZES[config.size].vocab_size,
        "validation_share": text.validation_share,
        "sample_bytes": text.sample_bytes,
    }


def _changed(old: dict[str, Any], new: dict[str, Any]) -> str:
    names = {"data": "the text", "validation": "the validation text", "tokenizer": "the tokenizer"}
    changes = [
        f"{names[name]} has changed" if name in names else f"{name} was {old[name]}, is {new[name]}"
        for name in new
        if old.get(name) != new[name]
    ]
    return f"the run in --out cannot be resumed with other tokens: {', '.join(changes)}"


def _read_manifest(folder: Path) -> dict[str, Any] | None:
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return manifest
