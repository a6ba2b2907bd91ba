"""The shapes of what clients send and are answered, as JSON schemas.

Of a client's request only what the gateway itself reads is described; the rest is the worker's.
"""

from collections.abc import Mapping
from typing import Any

from triskele.serve.routing.named import ROUTERS

Schema = dict[str, Any]

NUMBER: Schema = {"type": "number"}
COUNT: Schema = {"type": "integer", "minimum": 0}
TEXT: Schema = {"type": "string"}
TEXTS: Schema = {"type": "array", "items": TEXT}
SHARE: Schema = {"type": ["number", "null"], "minimum": 0, "maximum": 1}
SECONDS: Schema = {"type": ["number", "null"], "minimum": 0, "description": "Seconds."}
UNIX: Schema = {"type": "number", "description": "Seconds since 1970."}
LIMIT: Schema = {
    "type": ["integer", "null"],
    "description": "Tokens; below 1 is for the worker to refuse.",
}
STREAM: Schema = {
    "type": ["boolean", "null"],
    "description": "Whether the answer comes as server-sent events, one per piece.",
}
MODEL: Schema = {
    "type": ["string", "null"],
    "minLength": 1,
    "description": "One of /v1/models; auto leaves the choice to the gateway, where it is one.",
}
ID: Schema = {
    "type": "string",
    "minLength": 1,
    "maxLength": 200,
    "description": "Of a request, as X-Request-Id of its answer says.",
}

NAME: Schema = {
    "type": "string",
    "pattern": "^[A-Za-z0-9][A-Za-z0-9._:-]*$",
    "maxLength": 100,
    "description": "One segment of a path, and neither of its special ones, . and ..",
}
NOTHING_ELSE: Schema = {"additionalProperties": False}
STATES = ("starting", "ready", "suspect", "down", "draining")


def requests() -> dict[str, Schema]:
    """Return the shapes of bodies that are sent, by name."""
    prompt: Schema = {
        "description": "A text, several, the tokens of one, or of several; it is for the worker.",
        "examples": ["Once upon a time"],
    }
    messages: Schema = {
        "description": "The conversation; it is for the worker.",
        "examples": [[{"role": "user", "content": "Hello"}]],
    }
    address: Schema = {
        "type": "string",
        "format": "uri",
        "pattern": "^https?://",
        "maxLength": 2048,
        "examples": ["http://10.0.0.5:8000"],
    }
    session: Schema = {
        "type": ["string", "null"],
        "description": "Ties a conversation together, where no X-Session-Id does.",
    }
    ignore_eos: Schema = {
        "type": ["boolean", "null"],
        "description": "Whether the answer has max_tokens in any case.",
    }
    read = {"model": MODEL, "stream": STREAM, "prompt_cache_key": session, "user": session}
    limits = {"max_tokens": LIMIT, "max_completion_tokens": LIMIT, "ignore_eos": ignore_eos}
    said = {
        "id": ID,
        "score": SHARE | {"description": "How good the answer is."},
        "better_than": or_null(ID),
        "comment": {"type": ["string", "null"], "maxLength": 2000},
    }
    of_type = {"score": NUMBER, "better_than": TEXT}
    says_something = {"anyOf": [mapping({name: of_type[name]}, name) for name in of_type]}
    return {
        "ChatRequest": mapping({**read, **limits, "messages": messages}),
        "CompletionRequest": mapping({**read, **limits, "prompt": prompt}),
        "EmbeddingRequest": mapping({**read, "input": prompt}),
        "FeedbackRequest": mapping(said, "id") | NOTHING_ELSE | says_something,
        "AddWorkerRequest": mapping({"url": address, "name": or_null(NAME)}, "url") | NOTHING_ELSE,
        "PolicyRequest": whole({"policy": {"enum": sorted(ROUTERS)}}) | NOTHING_ELSE,
    }


def answers() -> dict[str, Schema]:
    """Return the shapes of answers to clients, by name."""
    details = mapping({"cached_tokens": {"type": ["integer", "null"]}})
    usage = mapping({"prompt_tokens": COUNT, "prompt_tokens_details": or_null(details)})
    choices = {"type": "array", "items": {"type": "object"}}
    listed = {"type": "array", "items": ref("Model")}
    answered = {"id": TEXT, "model": TEXT, "choices": choices, "usage": or_null(usage)}
    vectors = {"type": "array", "items": {"type": "object"}}
    error = {
        "message": TEXT,
        "type": TEXT,
        "param": {"type": ["string", "null"]},
        "code": {"type": ["string", "integer", "null"]},
    }
    return {
        "Chat": mapping(answered, "choices"),
        "Completion": mapping(answered, "choices"),
        "Embedding": mapping({"data": vectors, "model": TEXT}, "data"),
        "Feedback": whole({"id": TEXT, "object": {"const": "feedback"}}),
        "Model": mapping({"id": TEXT, "object": TEXT}, "id"),
        "Models": whole({"object": {"const": "list"}, "data": listed}),
        "Health": mapping({"status": TEXT}, "status"),
        "Page": mapping({"openapi": TEXT, "info": {"type": "object"}}, "openapi", "info"),
        "Error": whole({"error": whole(error)}),
    }


def administration() -> dict[str, Schema]:
    """Return the shapes of what operators are answered, by name."""
    worker = {
        "name": TEXT,
        "url": TEXT,
        "models": TEXTS,
        "state": {"enum": list(STATES)},
        "in_flight": COUNT,
        "requests": COUNT,
        "failures": COUNT,
        "hit_rate": SHARE,
        "cache_pages": {"type": ["integer", "null"], "minimum": 0},
        "ttft_p50": SECONDS,
        "latency_p50": SECONDS,
        "error": {"type": ["string", "null"]},
        "since": UNIX | {"description": "When the state began, in seconds since 1970."},
    }
    counts = ("requests", "failed", "retried", "rejected", "in_flight", "queued")
    quantiles = or_null(whole(dict.fromkeys(("p50", "p95", "p99"), SECONDS)))
    times = ("ttft_p50", "ttft_p95", "latency_p50", "latency_p95")
    second = {"time": UNIX, "rate": NUMBER, **dict.fromkeys(times, SECONDS), "hit_rate": SHARE}
    status = {
        "policy": TEXT,
        "policies": TEXTS,
        "time": UNIX,
        "uptime": NUMBER,
        "version": TEXT,
        "models": TEXTS,
        "workers": {"type": "array", "items": ref("Worker")},
        "totals": whole({**dict.fromkeys(counts, COUNT), "rate": NUMBER}),
        "latency": quantiles,
        "ttft": quantiles,
        "series": {"type": "array", "items": whole(second), "maxItems": 120},
        "scatter": {
            "type": "array",
            "items": whole({"predicted": NUMBER, "observed": NUMBER, "worker": TEXT}),
            "maxItems": 400,
        },
    }
    return {
        "Worker": whole(worker),
        "Workers": whole({"workers": {"type": "array", "items": ref("Worker")}}),
        "Status": whole(status),
        "Policy": whole({"policy": TEXT}),
    }


def ref(schema: str) -> Schema:
    """Return what stands for a shape by its name."""
    return {"$ref": f"#/components/schemas/{schema}"}


def mapping(properties: Mapping[str, Schema], *required: str) -> Schema:
    """Return an object that may hold more than is named here."""
    schema: Schema = {"type": "object", "properties": dict(properties)}
    return schema | {"required": list(required)} if required else schema


def whole(properties: Mapping[str, Schema]) -> Schema:
    """Return an object that holds all that is named here."""
    return mapping(properties, *properties)


def or_null(schema: Schema) -> Schema:
    """Return a shape that may be missing."""
    return schema | {"type": [schema["type"], "null"]}
