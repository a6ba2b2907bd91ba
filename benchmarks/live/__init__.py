"""The engine for real: workers and a gateway in processes, requests over HTTP, what they took."""
