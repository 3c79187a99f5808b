"""The figure of one relayed call is taken from a call that was heard."""

import json

import pytest

from loadtest.relayed_call import main


def test_it_prints_what_one_call_costs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seconds", "2"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["media"] == "audio"
    assert found["callCoreShare"] > 0
    assert min(found["framesHeard"]) >= 25
    with pytest.raises(SystemExit):
        main(["--seconds", "0"])
