"""The port that workers share: nobody else gets it, and a second supervisor is told."""

import socket
from contextlib import closing

import pytest

from signaling.config import ConfigError
from signaling.workers.ports import hold, url_of


def shared(port: int, *, listen: bool = True) -> socket.socket:
    """What a worker does."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    made.bind(("127.0.0.1", port))
    if listen:
        made.listen()
    return made


def waiting(worker: socket.socket) -> int:
    """How many connections wait to be accepted."""
    worker.setblocking(False)
    for found in range(100):
        try:
            worker.accept()[0].close()
        except BlockingIOError:
            return found
    raise AssertionError("there is no end of them")


def test_workers_may_listen_on_it_and_it_takes_no_connection_itself() -> None:
    with closing(hold("127.0.0.1", 0)) as held:
        with socket.socket() as client, pytest.raises(ConnectionRefusedError):
            client.connect(("127.0.0.1", held.port))
        with shared(held.port) as first, shared(held.port) as second:
            for _ in range(20):
                with socket.socket() as client:
                    client.connect(("127.0.0.1", held.port))
            assert waiting(first) + waiting(second) == 20


def test_a_port_with_workers_of_another_supervisor_on_it_is_taken() -> None:
    in_use = "cannot listen on 127.0.0.1:[0-9]+: Address already in use"
    with closing(hold("127.0.0.1", 0)) as held, shared(held.port), pytest.raises(ConfigError, match=in_use):
        hold("127.0.0.1", held.port)
    hold("127.0.0.1", held.port).close()


def test_a_name_with_several_addresses_is_held_on_all_of_them() -> None:
    in_use = pytest.raises(OSError, match="in use")
    with closing(hold("localhost", 0)) as held, socket.socket() as other, in_use:
        other.bind(("127.0.0.1", held.port))


def test_a_host_that_there_is_not_is_named() -> None:
    with pytest.raises(ConfigError, match="no such host"):
        hold("no.such.host.invalid", 1)
    with pytest.raises(ConfigError, match="cannot listen"):
        hold("x" * 70, 1)


def test_the_url_of_an_address_of_version_six_has_brackets() -> None:
    assert url_of("::1", 80) == "http://[::1]:80"
    assert url_of("127.0.0.1", 80) == "http://127.0.0.1:80"
