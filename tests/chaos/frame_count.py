"""Where WebSocket frames end in a stream of bytes (RFC 6455, 5.2): what a proxy needs to cut between two of them."""

__all__ = ["FrameCount"]

_HEAD_END = b"\r\n\r\n"


class FrameCount:
    """Counts the frames of one direction. Until ``upgraded`` everything is HTTP and counts for nothing."""

    def __init__(self) -> None:
        self.upgraded = False
        self._held = b""
        self._skip = 0

    def feed_head(self, chunk: bytes) -> int | None:
        """Look for the server's 101; the length of ``chunk`` up to the first byte of a frame, None for not yet."""
        before = len(self._held)
        self._held = (self._held + chunk)[-65_536:]
        start = self._held.find(b"HTTP/1.1 101")
        end = self._held.find(_HEAD_END, start) if start >= 0 else -1
        if end < 0:
            return None
        self.upgraded, self._held = True, b""
        return max(0, end + len(_HEAD_END) - before)

    def feed(self, chunk: bytes) -> list[int]:
        """The places in ``chunk`` at which frames end."""
        ends, place = [], 0
        while place < len(chunk):
            if self._skip:
                step = min(self._skip, len(chunk) - place)
                self._skip, place = self._skip - step, place + step
                if not self._skip:
                    ends.append(place)
                continue
            self._held += chunk[place : place + 1]
            place += 1
            size = _size(self._held)
            if size is not None:
                self._held, self._skip = b"", size
                if not size:
                    ends.append(place)
        return ends


def _size(head: bytes) -> int | None:
    """The bytes that follow a whole frame head, None while it is not whole."""
    if len(head) < 2:
        return None
    masked, length = head[1] >> 7, head[1] & 0x7F
    extra = {126: 2, 127: 8}.get(length, 0)
    if len(head) < 2 + extra + 4 * masked:
        return None
    return int.from_bytes(head[2 : 2 + extra], "big") if extra else length
