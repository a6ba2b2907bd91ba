"""The gateway: one OpenAI-compatible address before many workers, routed by any policy.

>>> gateway = Gateway(Settings())
>>> gateway.add("http://127.0.0.1:8001")
>>> await gateway.start("127.0.0.1", 8000)
"""

from triskele.serve.gateway.gateway import Gateway
from triskele.serve.gateway.keys import ApiKey, KeyFile, Keys, parse_keys
from triskele.serve.gateway.settings import Settings

__all__ = ["ApiKey", "Gateway", "KeyFile", "Keys", "Settings", "parse_keys"]
