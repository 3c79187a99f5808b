"""What of descriptions and candidates gets through, and what is refused: the attacks, each by name."""

import pytest

from media.candidate import HostPolicy, Malformed, check_candidate
from media.sdp import check_description

FP = ":".join(["AB"] * 32)
HEAD = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n"
AUDIO = (
    "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=sendrecv\r\na=ice-ufrag:abcd\r\n"
    f"a=ice-pwd:abcdefghijklmnopqrstuv\r\na=fingerprint:sha-256 {FP}\r\na=setup:actpass\r\na=rtcp-mux\r\n"
    "a=rtpmap:111 opus/48000/2\r\n"
)
GOOD = HEAD + AUDIO
UUID = "0a1b2c3d-0a1b-4a1b-8a1b-0a1b2c3d4e5f"


def candidate(address: str, *, port: int = 50_000, kind: str = "host", rest: str = "") -> str:
    return f"candidate:1 1 udp 2130706431 {address} {port} typ {kind}{rest}"


def test_a_good_one_gets_through_as_it_is() -> None:
    found = check_description(GOOD, HostPolicy.PUBLIC)
    assert (found.sdp, found.fingerprint) == (GOOD, FP)
    assert check_description(GOOD.replace("\r\n", "\n"), HostPolicy.PUBLIC).sdp == GOOD


def test_a_fingerprint_of_the_session_counts_for_all_media_and_others_beside_it_do_no_harm() -> None:
    line = f"a=fingerprint:sha-256 {FP}\r\n"
    session = HEAD + line + AUDIO.replace(line, f"a=fingerprint:sha-512 {':'.join(['01'] * 64)}\r\n")
    assert check_description(session, HostPolicy.PUBLIC).fingerprint == FP
    lower = GOOD.replace(FP, FP.lower())
    assert check_description(lower, HostPolicy.PUBLIC).fingerprint == FP


BAD = {
    "nothing": "",
    "no beginning": AUDIO,
    "no media": HEAD,
    "a null": GOOD + "a=label:\0\r\n",
    "a lone carriage return": GOOD.replace("s=-", "s=-\rx"),
    "an injected line": GOOD + "GET / HTTP/1.1\r\n",
    "an unknown attribute": GOOD + "a=evil:1\r\n",
    "an unknown type": GOOD + "x=1\r\n",
    "no encryption": GOOD.replace("UDP/TLS/RTP/SAVPF", "RTP/AVP"),
    "SDES": GOOD.replace("UDP/TLS/RTP/SAVPF", "RTP/SAVPF"),
    "other media": GOOD.replace("m=audio", "m=message"),
    "a key in the clear": GOOD + "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:x\r\n",
    "no fingerprint": GOOD.replace(f"a=fingerprint:sha-256 {FP}\r\n", ""),
    "two fingerprints": GOOD + f"a=fingerprint:sha-256 {':'.join(['CD'] * 32)}\r\n",
    "the same one twice": GOOD + f"a=fingerprint:sha-256 {FP}\r\n",
    "another one for other media": GOOD + AUDIO.replace(FP, ":".join(["CD"] * 32)),
    "a short fingerprint": GOOD.replace(FP, FP[:-3]),
    "a weak one alone": GOOD.replace(f"sha-256 {FP}", f"sha-1 {':'.join(['AB'] * 20)}"),
    "a long line": GOOD + f"a=fmtp:111 {'x' * 512}\r\n",
    "too long": HEAD + AUDIO + "a=ssrc:1 cname:x\r\n" * 1_000,
    "too many media": HEAD + AUDIO * 17,
    "an empty line": GOOD + "\r\n",
    "not ASCII": GOOD.replace("s=-", "s=é"),
    "an odd character": GOOD.replace("s=-", "s=\u2028"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_ones_are_refused_and_nothing_of_them_is_quoted(what: str) -> None:
    with pytest.raises(Malformed) as caught:
        check_description(BAD[what], HostPolicy.ANY)
    assert "evil" not in str(caught.value)
    assert "AB:AB" not in str(caught.value)


def test_candidates_that_nobody_may_be_sent_to_are_taken_out() -> None:
    lines = [candidate("10.1.2.3"), candidate("198.35.26.96"), candidate("127.0.0.1"), candidate(f"{UUID}.local")]
    sdp = GOOD + "".join(f"a={line}\r\n" for line in lines)
    for policy, kept in ((HostPolicy.PUBLIC, (1, 3)), (HostPolicy.PRIVATE, (0, 1, 3)), (HostPolicy.ANY, (0, 1, 2, 3))):
        found = check_description(sdp, policy).sdp
        assert [n for n, line in enumerate(lines) if line in found] == list(kept)


PUBLIC = ("198.35.26.96", "2a00:1450:4001:81b::200e", f"{UUID}.local", f"{UUID.upper()}.local")
PRIVATE = ("10.0.0.1", "172.16.9.9", "192.168.1.7", "fd12::1", "100.64.0.1", "::ffff:10.0.0.1")
NOBODYS = ("169.254.169.254", "fe80::1", "224.0.0.1", "ff02::1", "::ffff:169.254.169.254", "0.0.0.0", "::")


@pytest.mark.parametrize("address", [*PUBLIC, *PRIVATE, *NOBODYS, "127.0.0.1", "::1", "::ffff:127.0.0.1"])
def test_an_address_by_policy(address: str) -> None:
    allowed = {policy for policy in HostPolicy if not raises(candidate(address), policy)}
    if address in PUBLIC:
        assert allowed == set(HostPolicy)
    elif address in PRIVATE:
        assert allowed == {HostPolicy.PRIVATE, HostPolicy.ANY}
    elif address in NOBODYS:
        assert allowed == set()
    else:
        assert allowed == {HostPolicy.ANY}


def raises(text: str, policy: HostPolicy) -> bool:
    try:
        check_candidate(text, policy)
    except Malformed:
        return True
    return False


@pytest.mark.parametrize(
    "text",
    [
        "candidate",
        "a=" + candidate("198.35.26.96"),
        candidate("198.35.26.96") + "\r\na=x",
        candidate("evil.example"),
        candidate("x" * 300 + ".local"),
        candidate("a.local"),
        candidate("198.35.26.96", port=0),
        candidate("198.35.26.96", port=65_536),
        candidate("198.35.26.96", kind="evil"),
        candidate("198.35.26.96", kind="srflx", rest=" raddr evil.example rport 1"),
        candidate("198.35.26.96", rest=" odd"),
        candidate("2130706433"),
        candidate("0x7f.1"),
        "candidate:1 1 udp 1 198.35.26.96 1 typ host " + "x y " * 200,
    ],
)
def test_what_is_no_candidate(text: str) -> None:
    assert raises(text, HostPolicy.ANY)


def test_what_browsers_send() -> None:
    for rest in (" generation 0 ufrag abcd network-id 1", " tcptype active", ""):
        check_candidate(candidate("198.35.26.96", rest=rest), HostPolicy.PUBLIC)
    check_candidate(candidate("198.35.26.96", kind="srflx", rest=" raddr 0.0.0.0 rport 0"), HostPolicy.PUBLIC)
    check_candidate("", HostPolicy.PUBLIC)


VIDEO = AUDIO.replace("m=audio 9", "m=video 9").replace("a=mid:0", "a=mid:1")
REFUSED = VIDEO.replace("m=video 9", "m=video 0")
DATA = f"m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:2\r\na=fingerprint:sha-256 {FP}\r\n"
RECEIVES = AUDIO.replace("sendrecv", "recvonly")
NO_DIRECTION = AUDIO.replace("a=sendrecv\r\n", "")
SENDS = {
    "both ways": (GOOD, True),
    "one way": (GOOD.replace("sendrecv", "sendonly"), True),
    "the other way": (HEAD + RECEIVES, False),
    "no way": (HEAD + AUDIO.replace("sendrecv", "inactive"), False),
    "no direction": (HEAD + NO_DIRECTION, True),
    "that of the session": (HEAD + "a=recvonly\r\n" + NO_DIRECTION, False),
    "that of the session, which does not count": (HEAD + "a=recvonly\r\n" + AUDIO, True),
    "two directions": (HEAD + RECEIVES + "a=sendrecv\r\n", True),
    "sound only received, pictures sent": (HEAD + RECEIVES + VIDEO, True),
    "both only received": (HEAD + RECEIVES + VIDEO.replace("sendrecv", "recvonly"), False),
    "a medium that was refused": (HEAD + RECEIVES + VIDEO.replace("m=video 9", "m=video 0"), False),
    "one that only looks refused": (
        HEAD + RECEIVES + VIDEO.replace("m=video 9", "m=video 0") + "a=bundle-only\r\n",
        True,
    ),
    "data": (HEAD + RECEIVES + DATA, True),
    "data of a session that only receives": (HEAD + "a=recvonly\r\n" + RECEIVES + DATA, True),
}


@pytest.mark.parametrize("what", SENDS)
def test_whether_its_sender_may_send_anything(what: str) -> None:
    sdp, sends = SENDS[what]
    assert check_description(sdp, HostPolicy.ANY).sends is sends
