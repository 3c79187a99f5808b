"""A development token by the command that a developer would use. Read ``dev_token`` first."""

import asyncio
import sys
from typing import Final

__all__ = ["NoDevToken", "dev_token"]

_COMMAND_S: Final = 20.0
_LIFETIME_S: Final = 600


class NoDevToken(Exception):
    """The command made none; the message is its last line."""


async def dev_token(data: str | None) -> str:
    """A token of ten minutes for a clinician who is assigned to nobody. Raises NoDevToken."""
    who = ("--user", "auricle-probe", "--clinic", "auricle-probe", "--role", "clinician")
    folder = () if data is None else ("--data", data)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "signaling", "token", *who, "--expires-in", str(_LIFETIME_S), *folder),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(_COMMAND_S):
            output, errors = await process.communicate()
    except TimeoutError:
        raise NoDevToken(f"no token within {_COMMAND_S:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        said = errors.decode(errors="replace").strip().splitlines()
        raise NoDevToken(said[-1] if said else "the token command failed")
    return output.decode().strip()
