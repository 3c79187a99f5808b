"""Live work that ends by itself while its fitter hangs on one pod and its phone on another: by the same causes."""

from collections.abc import Awaitable, Callable
from typing import cast

import pytest

from tests.signaling.conftest import House
from tests.signaling.near import Near
from tests.signaling.test_fall_backs import CAUSES, falls_back
from tests.signaling.visit import Visit


@pytest.mark.parametrize(("reason", "restore", "bring"), CAUSES)
async def test_a_fall_back_is_the_same_wherever_its_ends_hang(
    pods: Near, reason: str, restore: str, bring: Callable[[Visit, House], Awaitable[None]]
) -> None:
    await falls_back(pods.connect, cast(House, pods), reason, restore, bring)
