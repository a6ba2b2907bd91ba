"""``triskele serve``: from a command line to a gateway, and to workers of its own where asked.

>>> from triskele.serve.launch.front import run
>>> run(ServeConfig(upstream=("http://127.0.0.1:8001",)))
"""

from triskele.serve.launch.options import EngineOptions, GatewayOptions, ServeConfig

__all__ = ["EngineOptions", "GatewayOptions", "ServeConfig"]
