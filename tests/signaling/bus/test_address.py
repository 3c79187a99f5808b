"""Where the bus is: every form of the URL, what is refused, and that no password is ever shown."""

import pytest

from signaling.bus.address import BusAddress, BusKind, Login, Node, bus_address
from signaling.config import Config, ConfigError, config_from

SINGLE, CLUSTER, SENTINEL = BusKind.SINGLE, BusKind.CLUSTER, BusKind.SENTINEL

GOOD = {
    "redis://cache": BusAddress(SINGLE, (Node("cache", 6379),)),
    "redis://cache:7000/0": BusAddress(SINGLE, (Node("cache", 7000),)),
    "redis://[::1]:7000": BusAddress(SINGLE, (Node("::1", 7000),)),
    "rediss://ann:s%40crt@cache": BusAddress(SINGLE, (Node("cache", 6379),), True, Login("ann", "s@crt")),
    "redis://:s3crt@cache": BusAddress(SINGLE, (Node("cache", 6379),), login=Login("", "s3crt")),
    "redis+cluster://a,b:7001": BusAddress(CLUSTER, (Node("a", 6379), Node("b", 7001))),
    "redis+sentinel://a,b:7001/main": BusAddress(SENTINEL, (Node("a", 26379), Node("b", 7001)), master="main"),
    "rediss+sentinel://u:p@a/main?sentinel_user=v&sentinel_password=q": BusAddress(
        SENTINEL, (Node("a", 26379),), True, Login("u", "p"), "main", Login("v", "q")
    ),
    "unix:///run/redis.sock": BusAddress(SINGLE, (Node("/run/redis.sock", 0),)),
    "unix://u:p@/run/redis.sock": BusAddress(SINGLE, (Node("/run/redis.sock", 0),), login=Login("u", "p")),
}
SHOWN = {
    "rediss://ann:s3crt@cache": "rediss://cache:6379",
    "redis+cluster://:s3crt@a,[::1]:7001": "redis+cluster://a:6379,[::1]:7001",
    "rediss+sentinel://u:s3crt@a/main?sentinel_password=s3crt": "rediss+sentinel://a:26379/main",
    "unix://u:s3crt@/run/redis.sock": "unix:///run/redis.sock",
}
BAD = (
    "http://s3crt",
    "s3crt",
    "redis+other://s3crt",
    "unix+cluster:///s3crt",
    "redis://",
    "redis://u:s3crt@",
    "redis://u:s3crt@h:99999",
    "redis://u:s3crt@h:no",
    "redis://s3crt@h",
    "redis://a,s3crt",
    "redis://h/s3crt",
    "redis+cluster://h/1",
    "redis+sentinel://s3crt",
    "redis://h?password=s3crt",
    "redis+sentinel://h/main?password=s3crt",
    "unix://s3crt",
    "redis+cluster://" + ",".join(["s3crt"] * 65),
)


@pytest.mark.parametrize("url", GOOD)
def test_every_form_is_read(url: str) -> None:
    assert bus_address(url) == GOOD[url]


@pytest.mark.parametrize("url", BAD)
def test_what_is_no_address_is_refused_without_quoting_it(url: str) -> None:
    with pytest.raises(ConfigError, match=r"^redis_url: ") as refused:
        config_from({"AURICLE_REDIS_URL": url})
    assert "s3crt" not in str(refused.value)


@pytest.mark.parametrize("url", SHOWN)
def test_an_address_is_shown_without_its_password(url: str) -> None:
    address = bus_address(url)
    assert str(address) == SHOWN[url]
    assert "s3crt" not in repr(address) + repr(Config(redis_url=url))


@pytest.mark.parametrize("prefix", ["", "a b", "{a}", "a:", ":".join("abcdef"), "x" * 65])
def test_a_prefix_that_would_spoil_names_is_refused(prefix: str) -> None:
    with pytest.raises(ConfigError, match="redis_prefix"):
        Config(redis_prefix=prefix)
