"""uvicorn (httptools, uvloop) with any ASGI application, on a free port."""

import json
import socket
from typing import Any

import uvicorn


def serve(application: Any) -> None:
    """Listen until the process is ended."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    print(json.dumps({"port": listener.getsockname()[1]}), flush=True)
    config = uvicorn.Config(
        application, http="httptools", loop="uvloop", log_level="warning", access_log=False
    )
    uvicorn.Server(config).run(sockets=[listener])
