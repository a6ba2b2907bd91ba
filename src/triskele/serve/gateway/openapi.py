"""The gateway's interface as an OpenAPI 3.1 page: what it takes, and all that it may answer.

Of a client's request only what the gateway itself reads is described; the rest is the worker's,
passes unread, and is documented by whoever made the worker. So it is with a worker's answers, whose
status the gateway passes on as it is. Every refusal that is the gateway's own has OpenAI's error
body.

A client that goes away before its answer is recorded with status 499, which nobody is sent.
"""

from collections.abc import Sequence
from typing import Any

from triskele.serve.gateway.schemas import (
    COUNT,
    MODEL,
    NAME,
    TEXT,
    Schema,
    administration,
    answers,
    ref,
    requests,
)

REFUSALS: dict[int, str] = {
    400: "The request is malformed; ``error.param`` names the field where one is at fault.",
    401: "No key or token was given, or none that is known.",
    403: "Not allowed: an address that is not on the list, a page of another site, or no token.",
    404: "No such model, worker or path.",
    405: "The path is there, but not for this method.",
    408: "The request did not arrive in time.",
    409: "It contradicts what is: a worker that is there already, an answer better than itself.",
    413: "The body is larger than the gateway takes.",
    415: "The body is not ``application/json``.",
    429: "Too many requests, of this key or of all: try again after ``Retry-After`` seconds.",
    431: "The head of the request is larger than the gateway takes.",
    503: "No worker is ready or could answer, the gateway is stopping, or it has too many clients.",
    504: "No worker answered within the deadline.",
}
PREFERENCES = {
    name: {
        "name": f"X-Triskele-{name}",
        "in": "header",
        "required": False,
        # Nobody reads it where the model is named.
        "schema": {"type": "string", "examples": ["0.1"]},
        "description": f"Of requests for the model auto, a number of at least 0: {meaning}.",
    }
    for name, meaning in {
        "Margin": "how much below the best predicted quality is good enough",
        "Price-Weight": "what price counts among the models that are good enough",
        "Latency-Weight": "what predicted latency counts among them",
        "Quality-Weight": "what being worse than the best counts among them",
    }.items()
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
            "schemas": requests() | answers() | administration(),
            "responses": {str(status): _refusal(status) for status in REFUSALS},
            "parameters": {
                "worker": {"name": "name", "in": "path", "required": True, "schema": NAME},
                "model": {"name": "name", "in": "path", "required": True, "schema": MODEL},
                **PREFERENCES,
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

    def asked(name: str, summary: str, schema: str, *, is_text: bool = True) -> dict[str, Any]:
        done = _json(schema)
        if is_text:
            done["content"]["text/event-stream"] = {}
        operation = _operation_of(
            name, summary, tag="inference", done=done, refused=refused, body=f"{schema}Request"
        )
        if is_text:
            # Nobody but the client chooses the model of embeddings.
            operation["parameters"] = [
                {"$ref": f"#/components/parameters/{n}"} for n in PREFERENCES
            ]
        operation["responses"] |= {"422": passed_on, "502": passed_on, "default": passed_on}
        return {"post": operation}

    def told(name: str, summary: str, done: str, *refused: int) -> dict[str, Any]:
        answer = _json(done)
        return {"get": _operation_of(name, summary, tag="inference", done=answer, refused=refused)}

    feedback = _operation_of(
        "feedback",
        "Say what an answer was worth; kept beside the journal, where there is one.",
        tag="inference",
        done=_json("Feedback"),
        refused=(401, 404, 409),
        body="FeedbackRequest",
        status=201,
    )
    named = {"parameters": [{"$ref": "#/components/parameters/model"}]}
    model = told("model", "One of them, as its worker describes it.", "Model", 401, 404)
    return {
        "/v1/chat/completions": asked("chat", "Answer a conversation.", "Chat"),
        "/v1/completions": asked("complete", "Continue a text.", "Completion"),
        "/v1/embeddings": asked("embed", "Embed texts.", "Embedding", is_text=False),
        "/v1/feedback": {"post": feedback},
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
    listed = _operation_of(
        "listWorkers", "All workers.", tag="admin", done=_json("Workers"), refused=alone
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
        "/admin/workers": {"get": listed, "post": added},
        "/admin/workers/{name}": worker | {"delete": removed},
        "/admin/workers/{name}/drain": worker | {"post": drained},
        "/admin/workers/{name}/resume": worker | {"post": resumed},
        "/admin/policy": {"put": switched},
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
        content = {"application/json": {"schema": ref(body)}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _bearer(description: str) -> Schema:
    return {"type": "http", "scheme": "bearer", "description": description}


def _json(schema: str) -> Schema:
    content = {"application/json": {"schema": ref(schema)}}
    return {"description": "Done.", "content": content}


def _refusal(status: int) -> Schema:
    content = {"application/json": {"schema": ref("Error")}}
    refusal: Schema = {"description": REFUSALS[status], "content": content}
    if status in HEADERS:
        refusal["headers"] = HEADERS[status]
    return refusal
