"""The part of the configuration that is about Socket.IO."""

from dataclasses import dataclass

__all__ = ["SocketIoConfig"]


# No slots: of two parts that have some no class can be made.
@dataclass(frozen=True)
class SocketIoConfig:
    """Fields of ``Config``.

    ``socketio``: serve the hubs over Socket.IO too.
    ``max_packet_attachments``: binary attachments that one packet may announce. ``max_attachment_bytes``: all together.
    ``max_poll_bytes``: the body of one POST of a client that polls. ``max_poll_packets``: the packets in it, and those
    of one client that wait while another is handled.
    """

    socketio: bool = True
    max_packet_attachments: int = 4
    max_attachment_bytes: int = 65_536
    max_poll_bytes: int = 65_536
    max_poll_packets: int = 64
