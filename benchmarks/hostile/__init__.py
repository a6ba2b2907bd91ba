"""Requests that nobody should send, a worker that tells what got through, a socket client."""
