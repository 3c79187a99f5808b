"""The page of a visit: there in development alone, and free to load nothing and talk to nobody else."""

import pytest

from tests.signaling.conftest import House, OpenHouse

FILES = {
    "": "text/html",
    "page.css": "text/css",
    "page.js": "text/javascript",
    "hub.js": "text/javascript",
    "call.js": "text/javascript",
    "credentials.js": "text/javascript",
}


@pytest.mark.parametrize(("name", "kind"), FILES.items())
async def test_a_file_of_it_says_what_it_may_do(house: House, name: str, kind: str) -> None:
    async with house.http.get(f"{house.url}/visit/{name}") as answer:
        assert answer.status == 200
        assert (answer.content_type, answer.charset) == (kind, "utf-8")
        policy = answer.headers["Content-Security-Policy"].split("; ")
        assert policy[:4] == ["default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'"]
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert await answer.text()


async def test_its_own_path_leads_to_it_and_nothing_else_is_there(house: House) -> None:
    async with house.http.get(f"{house.url}/visit", allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (308, "/visit/")
    for name in ("index.html", "%2e%2e/calling.py", "..%2fcalling.py"):
        async with house.http.get(f"{house.url}/visit/{name}") as answer:
            assert answer.status == 404


async def test_it_is_not_there_without_dev(open_house: OpenHouse) -> None:
    house = await open_house(dev=False, dev_signing_key="x" * 32)
    for path in ("/visit", *(f"/visit/{name}" for name in FILES)):
        async with house.http.get(f"{house.url}{path}") as answer:
            assert answer.status == 404
