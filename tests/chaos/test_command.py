"""The command says what it can and cannot do before it starts anything."""

import pytest

from tests.chaos.__main__ import USAGE, main


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--pods", "2"], "one process"),
        (["--client", "socketio"], "SignalR only"),
        (["--profile", "huge"], "invalid choice"),
        (["--database", "oracle"], "invalid choice"),
        (["--seed", "one"], "invalid int"),
        (["--only", "1,x"], "numbers"),
    ],
)
def test_what_cannot_be_run_is_refused_with_a_reason(
    arguments: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == USAGE
    assert why in capsys.readouterr().err


def test_help_tells_the_exit_codes_and_how_to_replay(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    told = capsys.readouterr().out
    assert "exit codes: 0" in told
    assert "replayed by its seed" in told
