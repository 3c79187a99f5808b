// What a page does with a hub of another origin: Microsoft's client as a browser loads it, and REST by fetch. What is to
// be done comes behind the "#" of its address; what became of it is posted to where the page came from.
const asked = JSON.parse(decodeURIComponent(location.hash.slice(1)));
const bearer = { Authorization: `Bearer ${asked.token}`, "Content-Type": "application/json" };

const connection = ({ transport, protocol, skipNegotiation = false, token = asked.token }) =>
  new signalR.HubConnectionBuilder()
    .withUrl(asked.url + "/hubs/conformance", {
      accessTokenFactory: () => token,
      transport: signalR.HttpTransportType[transport],
      skipNegotiation,
    })
    .withHubProtocol(
      protocol === "messagepack" ? new signalR.protocols.msgpack.MessagePackHubProtocol() : new signalR.JsonHubProtocol(),
    )
    .configureLogging(signalR.LogLevel.None)
    .build();

const collected = (stream) =>
  new Promise((resolve, reject) => {
    const items = [];
    stream.subscribe({ next: (item) => items.push(item), complete: () => resolve(items), error: reject });
  });

// A call, a push, a stream, an upload and an answer to a question, over one transport.
const exercise = async (kind) => {
  const hub = connection(kind);
  const pushed = new Promise((resolve) => hub.on("news", (...args) => resolve(args)));
  hub.on("howLoud", () => 7);
  await hub.start();
  const numbers = new signalR.Subject();
  const sum = hub.invoke("Sum", numbers);
  for (const number of [1, 2, 3]) numbers.next(number);
  numbers.complete();
  const done = {
    echo: await hub.invoke("Echo", { text: "ä" }),
    items: await collected(hub.stream("Count", 3, 1)),
    sum: await sum,
    answer: await hub.invoke("AskMe", "howLoud"),
  };
  await hub.invoke("CallMe", "news", 1);
  done.pushed = await pushed;
  await hub.stop();
  return done;
};

const fetched = async ({ method, path, headers, body }) => {
  const response = await fetch(asked.url + path, { method, headers: { ...bearer, ...headers }, body, credentials: "include" });
  return { status: response.status, retry: response.headers.get("Retry-After"), text: await response.text() };
};

const outcome = (work) => work.then((value) => ({ ok: true, value })).catch((error) => ({ ok: false, error: String(error) }));
const outcomes = [];
for (const kind of asked.kinds ?? []) outcomes.push(await outcome(exercise(kind)));
for (const request of asked.requests ?? []) outcomes.push(await outcome(fetched(request)));
await fetch("/done", { method: "POST", body: JSON.stringify(outcomes) });
