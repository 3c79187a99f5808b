"""The server's end of WebSocket (RFC 6455) without input or output: bytes in, events out.

``upgrade`` answers the HTTP request that opens a connection, ``frames`` reads and writes what follows it.
Extensions are never negotiated. Nothing here opens a socket, reads a clock or knows what a payload means.
"""
