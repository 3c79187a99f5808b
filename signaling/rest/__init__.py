"""The HTTP resources under ``/api/v1``; errors are problem documents (RFC 9457) with our stable codes."""
