// How a page gets a token. The way to the server is in hub.js.
//
// What comes behind the `#` of an address is sent to no server. It is taken out of the address bar at once.

const KEPT = "visit";

/** `{visit, token}` of the address, of this tab's last load, or null. Uses a join link up. */
export async function credentials() {
  const given = new URLSearchParams(location.hash.slice(1));
  history.replaceState(null, "", location.pathname);
  let found = { visit: given.get("visit"), token: given.get("token") };
  if (given.get("link")) found = await redeemed(given.get("link"));
  else if (!found.token) found = JSON.parse(sessionStorage.getItem(KEPT));
  return found?.visit && found?.token ? keep(found) : null;
}

/** For this tab, while it is open: a join link works only once, and a page may be loaded again. */
export function keep(found) {
  sessionStorage.setItem(KEPT, JSON.stringify(found));
  return found;
}

export function forget() {
  sessionStorage.removeItem(KEPT);
}

async function redeemed(link) {
  const answer = await fetch(new URL("../api/v1/joins", location), {
    method: "POST",
    headers: { Authorization: `Bearer ${link}` },
  });
  if (!answer.ok) throw new Error("the link has been used, or is too old: ask for another one");
  const { visit, token } = await answer.json();
  return { visit, token };
}
