"""What the probe says to a command line that it cannot use: one line, exit code 2, and nothing of a token."""

from pathlib import Path

import pytest

from clients.probe.__main__ import main
from clients.probe.arguments import BadInput, parse
from clients.probe.hub_checks import token
from clients.probe.target import target_of
from clients.probe.verdicts import Finding, Trouble, line

URL = "https://hearing.example"
SECRET = "c2VjcmV0.c2VjcmV0.c2VjcmV0"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "required: URL"),
        (["hearing.example"], "must begin with http:// or https://"),
        (["ftp://hearing.example"], "must begin with http:// or https://"),
        (["https://hearing.example:99999"], "cannot be read"),
        ([f"https://ann:{SECRET}@hearing.example"], "no login, no query and no fragment"),
        ([f"{URL}/#{SECRET}"], "no login, no query and no fragment"),
        ([f"{URL}/?access_token={SECRET}"], "no login, no query and no fragment"),
        ([URL, "--timeout", "0"], "more than 0 and at most 600"),
        ([URL, "--timeout", "nan"], "more than 0 and at most 600"),
        ([URL, "--timeout", "soon"], "invalid number value"),
        ([URL, "--only", "socket"], "there is no such check; there are dns, tcp"),
        ([URL, "--only", ""], "there is no such check"),
        ([URL, "--hub", "hub"], "must begin with /"),
        ([URL, "--token", SECRET, "--dev-key"], "exclude each other"),
        ([URL, "--token", f"{SECRET}\nHost: other"], "what no token holds"),
        ([URL, "--ca-file", "/nowhere/ca.pem"], "certificates cannot be read"),
    ],
)
def test_a_command_line_that_cannot_be_used_gets_one_line_and_exit_code_2(
    words: list[str], says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(words, {}) == 2
    output, errors = capfd.readouterr()
    assert output == ""
    assert says in errors
    assert len(errors.splitlines()) == 1
    assert SECRET not in errors


def test_a_missing_development_key_is_said_with_exit_code_2(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AURICLE_DEV_SIGNING_KEY", raising=False)
    assert main(["http://127.0.0.1:9", "--dev-key", "--data", str(tmp_path)], {}) == 2
    assert "no signing key" in capfd.readouterr().err


def test_the_token_comes_from_the_command_line_before_the_environment() -> None:
    environ = {"AURICLE_PROBE_TOKEN": "from-environ"}
    assert parse([URL], {}).target.token is None
    assert parse([URL], environ).target.token == "from-environ"
    assert parse([URL, "--token", "given"], environ).target.token == "given"
    assert parse([URL, "--dev-key"], environ).target.token is None


def test_the_beginning_of_a_name_means_all_that_begin_so() -> None:
    chosen = parse([URL, "--only", "resume", "--only", "dns,tls"], {}).only
    assert chosen == {"resume-json", "resume-messagepack", "dns", "tls"}
    with pytest.raises(BadInput):
        parse([URL, "--only", "resum"], {})


def test_ports_paths_and_names_of_an_address_are_kept() -> None:
    plain = parse(["http://[::1]:8080/base/"], {}).target
    assert (plain.base, plain.host, plain.port, plain.hub) == (
        "http://[::1]:8080/base",
        "::1",
        8080,
        "http://[::1]:8080/base/hub",
    )
    assert plain.is_literal
    assert plain.is_loopback
    secure = parse([URL, "--hub", "/other/"], {}).target
    assert (secure.port, secure.hub, secure.is_loopback) == (443, f"{URL}/other", False)


def test_a_token_is_in_no_text_of_a_target() -> None:
    assert SECRET not in repr(target_of(URL, hub_path="/hub", token=SECRET, timeout_s=1, ca_file=None))


def test_a_finding_is_one_line() -> None:
    assert line(Finding("tcp", "fail", "refused", 12)) == "FAIL  tcp                       refused  (12 ms)"
    assert line(Finding("turn", "skip", "not configured", 0)) == "skip  turn                      not configured"


@pytest.mark.parametrize(
    ("claims", "outcome"),
    [
        ("eyJleHAiOjQxMDI0NDQ4MDB9", "ok"),  # {"exp": 4102444800}
        ("e30", "ok"),  # {}
        ("bm90IGpzb24", "ok"),  # not json
        ("eyJleHAiOjF9", "fail"),  # {"exp": 1}
    ],
)
async def test_a_token_that_has_ended_is_told_before_it_is_shown(claims: str, outcome: str) -> None:
    given = target_of(URL, hub_path="/hub", token=f"e30.{claims}.x", timeout_s=1, ca_file=None)
    if outcome == "fail":
        with pytest.raises(Trouble, match="its time ended"):
            await token(given)
    else:
        assert (await token(given)).outcome == outcome
