"""The gateway's interface as an OpenAPI 3.1 page: what it takes, and all that it may answer.

Of a client's request only what the gateway itself reads is described; the rest is the worker's,
passes unread, and is documented by whoever made the worker. So it is with a worker's answers, whose
status the gateway passes on as it is. Every refusal that is the gateway's own has OpenAI's error
body.

A client that goes away before its answer is recorded with status 499, which nobody is sent.
"""

from collections.abc import Mapping, Sequence
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
LIMIT: Schema = {"type": ["integer", "null"], "minimum": 1}
STREAM: Schema = {
    "type": ["boolean", "null"],
    "description": "Whether the answer comes as server-sent events, one per piece.",
}
MODEL: Schema = {"type": "string", "minLength": 1, "description": "One of /v1/models."}

NAME: Schema = {
    "type": "string",
    "pattern": "^[A-Za-z0-9][A-Za-z0-9._:-]*$",
    "maxLength": 100,
    "description": "One segment of a path, and neither of its special ones, . and ..",
}
NOTHING_ELSE: Schema = {"additionalProperties": False}
STATES = ("starting", "ready", "suspect", "down", "draining")

REFUSALS: dict[int, str] = {
    400: "The request is malformed; ``error.param`` names the field where one is at fault.",
    401: "No key or token was given, or none that is known.",
    403: "Not allowed: an address that is not on the list, a page of another site, or no token.",
    404: "No such model, worker or path.",
    405: "The path is there, but not for this method.",
    408: "The request did not arrive in time.",
    409: "It contradicts what is: a worker of this name or address is there already.",
    413: "The body is larger than the gateway takes.",
    415: "The body is not ``application/json``.",
    429: "Too many requests, of this key or of all: try again after ``Retry-After`` seconds.",
    431: "The head of the request is larger than the gateway takes.",
    503: "No worker is ready or could answer, the gateway is stopping, or it has too many clients.",
    504: "No worker answered within the deadline.",
}
ANYWHERE = (400, 405, 408, 413, 431, 503)
"""What every path may refuse: most are told before a request is known to be whole."""
SECURITY = {"inference": "key", "admin": "token"}
"""What opens the paths of a tag; those of the others are open, or their owner's business."""
HEADERS: dict[int, dict[str, Schema]] = {
    401: {"WWW-Authenticate": {"schema": {"const": "Bearer"}}},
    405: {"Allow": {"schema": TEXT}},
    429: {"Retry-After": {"schema": COUNT}},
    503: {"Retry-After": {"schema": COUNT}},
}


def openapi(version: str) -> dict[str, Any]:
    """Return the page, ready to be written as JSON.

    Parameters
    ----------
    version
        Of the gateway.
    """
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "triskele gateway",
            "version": version,
            "summary": "OpenAI's interface before many workers, and what operates them.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "tags": [
            {"name": "inference", "description": "Requests that a worker answers."},
            {"name": "operation", "description": "How the gateway is."},
            {"name": "admin", "description": "Workers and policy, changed while requests run."},
        ],
        "paths": _inference() | _operation() | _admin(),
        "components": {
            "schemas": _requests() | _answers() | _administration(),
            "responses": {str(status): _refusal(status) for status in REFUSALS},
            "parameters": {
                "worker": {"name": "name", "in": "path", "required": True, "schema": NAME},
                "model": {"name": "name", "in": "path", "required": True, "schema": MODEL},
            },
            "securitySchemes": {
                "key": _bearer("An API key, where the gateway was given any."),
                "token": _bearer("The admin token; without one, only loopback is served."),
            },
        },
    }


def _inference() -> dict[str, Any]:
    refused = (401, 404, 429, 504)
    passed_on = {
        "description": "The status that a worker gave, with the worker's body.",
        "content": {"application/json": {"schema": {}}},
    }

    def asked(name: str, summary: str, schema: str, *, streams: bool = True) -> dict[str, Any]:
        done = _json(schema)
        if streams:
            done["content"]["text/event-stream"] = {}
        operation = _operation_of(
            name, summary, tag="inference", done=done, refused=refused, body=f"{schema}Request"
        )
        operation["responses"] |= {"422": passed_on, "502": passed_on, "default": passed_on}
        return {"post": operation}

    def told(name: str, summary: str, done: str, *refused: int) -> dict[str, Any]:
        answer = _json(done)
        return {"get": _operation_of(name, summary, tag="inference", done=answer, refused=refused)}

    named = {"parameters": [{"$ref": "#/components/parameters/model"}]}
    model = told("model", "One of them, as its worker describes it.", "Model", 401, 404)
    return {
        "/v1/chat/completions": asked("chat", "Answer a conversation.", "Chat"),
        "/v1/completions": asked("complete", "Continue a text.", "Completion"),
        "/v1/embeddings": asked("embed", "Embed texts.", "Embedding", streams=False),
        "/v1/models": told("models", "The models of all workers.", "Models", 401),
        "/v1/models/{name}": named | model,
    }


def _operation() -> dict[str, Any]:
    def told(name: str, summary: str, done: Schema) -> dict[str, Any]:
        return {"get": _operation_of(name, summary, tag="operation", done=done)}

    metrics = {"description": "Done.", "content": {"text/plain": {"schema": TEXT}}}
    return {
        "/health": told("health", "Whether the gateway runs.", _json("Health")),
        "/ready": told("ready", "Whether it would answer a request.", _json("Health")),
        "/metrics": told("metrics", "Figures, in Prometheus' text format.", metrics),
        "/openapi.json": told("openapi", "This page.", _json("Page")),
    }


def _admin() -> dict[str, Any]:
    worker = {"parameters": [{"$ref": "#/components/parameters/worker"}]}
    alone, named, told = (401, 403), (401, 403, 404), (401, 403, 415)
    status = _operation_of(
        "status", "All that the dashboard shows.", tag="admin", done=_json("Status"), refused=alone
    )
    added = _operation_of(
        "addWorker",
        "Add a worker; it is used once it is ready.",
        tag="admin",
        done=_json("Worker"),
        refused=(*told, 409),
        body="AddWorkerRequest",
        status=201,
    )
    switched = _operation_of(
        "switchPolicy",
        "Route by another policy from now on.",
        tag="admin",
        done=_json("Policy"),
        refused=told,
        body="PolicyRequest",
    )

    def changed(name: str, summary: str, answer: str) -> dict[str, Any]:
        return _operation_of(name, summary, tag="admin", done=_json(answer), refused=named)

    removed = changed("removeWorker", "Forget a worker.", "Worker")
    drained = changed("drainWorker", "Let a worker finish what it has.", "Worker")
    resumed = changed("resumeWorker", "Send a worker requests again.", "Worker")
    return {
        "/admin/status": {"get": status},
        "/admin/workers": {"post": added},
        "/admin/workers/{name}": worker | {"delete": removed},
        "/admin/workers/{name}/drain": worker | {"post": drained},
        "/admin/workers/{name}/resume": worker | {"post": resumed},
        "/admin/policy": {"put": switched},
    }


def _requests() -> dict[str, Schema]:
    message = _object({"role": TEXT, "content": {"type": ["string", "array", "null"]}}, "role")
    tokens: Schema = {"type": "array", "items": COUNT, "minItems": 1}
    texts: Schema = {"type": "array", "items": TEXT, "minItems": 1}
    prompt: Schema = {
        "description": "A text, several, the tokens of one, or of several.",
        "anyOf": [TEXT, texts, tokens, {"type": "array", "items": tokens, "minItems": 1}],
    }
    address: Schema = {
        "type": "string",
        "format": "uri",
        "pattern": "^https?://",
        "maxLength": 2048,
        "examples": ["http://10.0.0.5:8000"],
    }
    messages: Schema = {"type": "array", "items": message, "minItems": 1}
    read = {"model": MODEL, "max_tokens": LIMIT, "stream": STREAM}
    chat = {**read, "messages": messages, "max_completion_tokens": LIMIT}
    return {
        "ChatRequest": _object(chat, "messages"),
        "CompletionRequest": _object({**read, "prompt": prompt}, "prompt"),
        "EmbeddingRequest": _object({"model": MODEL, "input": prompt}, "input"),
        "AddWorkerRequest": _object({"url": address, "name": _or_null(NAME)}, "url") | NOTHING_ELSE,
        "PolicyRequest": _whole({"policy": {"enum": sorted(ROUTERS)}}) | NOTHING_ELSE,
    }


def _answers() -> dict[str, Schema]:
    details = _object({"cached_tokens": {"type": ["integer", "null"]}})
    usage = _object({"prompt_tokens": COUNT, "prompt_tokens_details": _or_null(details)})
    choices = {"type": "array", "items": {"type": "object"}}
    listed = {"type": "array", "items": _ref("Model")}
    whole = {"id": TEXT, "model": TEXT, "choices": choices, "usage": _or_null(usage)}
    vectors = {"type": "array", "items": {"type": "object"}}
    error = {
        "message": TEXT,
        "type": TEXT,
        "param": {"type": ["string", "null"]},
        "code": {"type": ["string", "integer", "null"]},
    }
    return {
        "Chat": _object(whole, "choices"),
        "Completion": _object(whole, "choices"),
        "Embedding": _object({"data": vectors, "model": TEXT}, "data"),
        "Model": _object({"id": TEXT, "object": TEXT}, "id"),
        "Models": _whole({"object": {"const": "list"}, "data": listed}),
        "Health": _object({"status": TEXT}, "status"),
        "Page": _object({"openapi": TEXT, "info": {"type": "object"}}, "openapi", "info"),
        "Error": _whole({"error": _whole(error)}),
    }


def _administration() -> dict[str, Schema]:
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
    quantiles = _or_null(_whole(dict.fromkeys(("p50", "p95", "p99"), SECONDS)))
    times = ("ttft_p50", "ttft_p95", "latency_p50", "latency_p95")
    second = {"time": UNIX, "rate": NUMBER, **dict.fromkeys(times, SECONDS), "hit_rate": SHARE}
    status = {
        "policy": TEXT,
        "policies": TEXTS,
        "time": UNIX,
        "uptime": NUMBER,
        "version": TEXT,
        "models": TEXTS,
        "workers": {"type": "array", "items": _ref("Worker")},
        "totals": _whole({**dict.fromkeys(counts, COUNT), "rate": NUMBER}),
        "latency": quantiles,
        "ttft": quantiles,
        "series": {"type": "array", "items": _whole(second), "maxItems": 120},
        "scatter": {
            "type": "array",
            "items": _whole({"predicted": NUMBER, "observed": NUMBER, "worker": TEXT}),
            "maxItems": 400,
        },
    }
    return {
        "Worker": _whole(worker),
        "Status": _whole(status),
        "Policy": _whole({"policy": TEXT}),
    }


def _operation_of(
    name: str,
    summary: str,
    *,
    tag: str,
    done: Schema,
    refused: Sequence[int] = (),
    body: str | None = None,
    status: int = 200,
) -> dict[str, Any]:
    statuses = sorted({*ANYWHERE, *refused})
    operation: dict[str, Any] = {
        "operationId": name,
        "summary": summary,
        "tags": [tag],
        "responses": {
            str(status): done,
            **{str(other): {"$ref": f"#/components/responses/{other}"} for other in statuses},
        },
    }
    if tag in SECURITY:
        operation["security"] = [{SECURITY[tag]: []}, {}]
    if body is not None:
        content = {"application/json": {"schema": _ref(body)}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _bearer(description: str) -> Schema:
    return {"type": "http", "scheme": "bearer", "description": description}


def _json(schema: str) -> Schema:
    content = {"application/json": {"schema": _ref(schema)}}
    return {"description": "Done.", "content": content}


def _refusal(status: int) -> Schema:
    content = {"application/json": {"schema": _ref("Error")}}
    refusal: Schema = {"description": REFUSALS[status], "content": content}
    if status in HEADERS:
        refusal["headers"] = HEADERS[status]
    return refusal


def _ref(schema: str) -> Schema:
    return {"$ref": f"#/components/schemas/{schema}"}


def _object(properties: Mapping[str, Schema], *required: str) -> Schema:
    """Return an object that may hold more than is named here."""
    schema: Schema = {"type": "object", "properties": dict(properties)}
    return schema | {"required": list(required)} if required else schema


def _whole(properties: Mapping[str, Schema]) -> Schema:
    """Return an object that holds all that is named here."""
    return _object(properties, *properties)


def _or_null(schema: Schema) -> Schema:
    return schema | {"type": [schema["type"], "null"]}
