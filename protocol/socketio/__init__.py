"""Socket.IO 5 over Engine.IO 4, as a hub speaks it: bytes in, events out. Knows no socket and no method."""
