"""Fitting software asks the server what a first fit would be, so that there is one computation of it and not two.

The answer is a proposal: nothing changes until its ``content`` is submitted (``fitter.Change(first_fit=True)``). This
module must not know a formula. Read ``ask_first_fit``.
"""

import aiohttp
import msgspec
from msgspec import UnsetType

from clients.hub_errors import HubCallError
from protocol.contract.audiograms import FirstFitAnswer, Rationale
from protocol.contract.base import Failure
from protocol.contract.rest import Problem

__all__ = ["ask_first_fit"]


async def ask_first_fit(
    http: aiohttp.ClientSession, url: str, token: str, device: str, rationale: Rationale = "camfit"
) -> FirstFitAnswer | Failure:
    """The first fit of a device by a formula, from the audiogram that counts; ``url`` is the server's.

    Raises HubCallError, as a call of the hub does: the server answered with an error. ConnectionError, TimeoutError or
    aiohttp.ClientError when it did not answer.
    """
    headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
    path = f"{url}/api/v1/devices/{device}/first-fit"
    async with http.get(path, params={"rationale": rationale}, headers=headers) as response:
        body = await response.read()
        try:
            if response.status == 200:
                return msgspec.json.decode(body, type=FirstFitAnswer)
            problem = msgspec.json.decode(body, type=Problem)
        except msgspec.MsgspecError:
            raise HubCallError("internal", f"the server's answer, {response.status}, is not understood") from None
    if isinstance(problem.error, UnsetType):
        raise HubCallError(problem.code, problem.detail)
    others = () if isinstance(problem.errors, UnsetType) else problem.errors
    return Failure(error=problem.error, errors=others)
