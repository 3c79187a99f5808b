// Drives Microsoft's own client: one JSON command per line on stdin, one JSON answer or event per line on stdout.
// It knows nothing of the server: every name comes from the test.
import { createInterface } from "node:readline";
import * as signalR from "@microsoft/signalr";
import { MessagePackHubProtocol } from "@microsoft/signalr-protocol-msgpack";

const connections = new Map(); // name -> HubConnection
const tokens = new Map(); // name -> what its token factory gives out
const calls = new Map(); // "name/call" -> a stream's subscription, or an upload's subject and result
const secrets = new Map(); // name -> the connection token of its last negotiation
const arrived = new Map(); // name -> stream items received
const held = new Map(); // "name/method" -> lets a held client result go
const emit = (line) => process.stdout.write(JSON.stringify(line) + "\n");

// The client leaves promises of its own unobserved when a connection dies under an upload; tests watch its events.
process.on("unhandledRejection", () => {});

const toJson = (value) => {
  if (value instanceof Uint8Array) return { $bytes: Buffer.from(value).toString("base64") };
  if (value instanceof Date) return { $date: value.toISOString() };
  if (Array.isArray(value)) return value.map(toJson);
  if (value && typeof value === "object")
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, toJson(item)]));
  return value === undefined ? null : value;
};

const fromJson = (value) => {
  if (Array.isArray(value)) return value.map(fromJson);
  if (value && typeof value === "object") {
    if ("$bytes" in value) return new Uint8Array(Buffer.from(value.$bytes, "base64"));
    if ("$date" in value) return new Date(value.$date);
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, fromJson(item)]));
  }
  return value;
};

// The client's own protocol, which also counts the stream items that came, wanted or not.
const counting = (connection, protocol) => {
  const parse = protocol.parseMessages.bind(protocol);
  arrived.set(connection, 0);
  protocol.parseMessages = (input, logger) => {
    const messages = parse(input, logger);
    const items = messages.filter(({ type }) => type === signalR.MessageType.StreamItem);
    arrived.set(connection, arrived.get(connection) + items.length);
    return messages;
  };
  return protocol;
};

// The client's own HTTP, which also notes the secret that negotiation hands out for a connection. And it returns a 401
// that a newer token would mend: the client means to ask its factory then, but its own HTTP throws before it can.
class Noting extends signalR.DefaultHttpClient {
  constructor(connection) {
    super({ log() {} });
    this.connection = connection;
  }
  async send(request) {
    let response;
    try {
      response = await super.send(request);
    } catch (error) {
      const isOld = request.headers?.Authorization !== `Bearer ${tokens.get(this.connection)}`;
      if (error.statusCode === 401 && isOld) return new signalR.HttpResponse(401, error.message);
      throw error;
    }
    if (request.url.includes("/negotiate?") && response.statusCode === 200)
      secrets.set(this.connection, JSON.parse(response.content).connectionToken);
    return response;
  }
}

// What a browser or Node has for a transport behind a firewall that lets none of it through.
class Blocked {
  constructor() {
    setTimeout(() => this.onerror?.({ message: "blocked" }));
    setTimeout(() => this.onclose?.({ code: 1006 }));
  }
  close() {}
}

const configure = (connection, options) => {
  const { url, protocol, transport = "WebSockets", skipNegotiation = false, headers = {}, blocked = [] } = options;
  const format = protocol === "messagepack" ? new MessagePackHubProtocol() : new signalR.JsonHubProtocol();
  let builder = new signalR.HubConnectionBuilder()
    .withUrl(url, {
      accessTokenFactory: () => tokens.get(connection),
      httpClient: new Noting(connection),
      // Without a wish the client tries what the server offers, in the order of the offer.
      transport: transport === "any" ? undefined : signalR.HttpTransportType[transport],
      skipNegotiation,
      headers,
      ...(blocked.includes("WebSockets") ? { WebSocket: Blocked } : {}),
      ...(blocked.includes("ServerSentEvents") ? { EventSource: Blocked } : {}),
    })
    .withHubProtocol(counting(connection, format))
    .configureLogging(signalR.LogLevel.None);
  if (options.reconnect)
    builder = builder.withAutomaticReconnect(options.reconnect === true ? [0, 200, 200, 500, 500, 1000] : options.reconnect);
  if (options.stateful) builder = builder.withStatefulReconnect();
  if (options.serverTimeoutMs) builder = builder.withServerTimeout(options.serverTimeoutMs);
  if (options.keepAliveMs) builder = builder.withKeepAliveInterval(options.keepAliveMs);
  return builder.build();
};

const operations = {
  async connect({ connection, token, ...options }) {
    tokens.set(connection, token);
    const hub = configure(connection, options);
    hub.onclose((error) => emit({ event: "closed", connection, error: error ? error.message : null }));
    hub.onreconnecting((error) => emit({ event: "reconnecting", connection, error: error ? error.message : null }));
    hub.onreconnected(() => emit({ event: "reconnected", connection }));
    await hub.start();
    connections.set(connection, hub);
    return hub.connectionId;
  },
  // What the token factory answers from now on.
  async token({ connection, token }) {
    tokens.set(connection, token);
  },
  async on({ connection, method, answer, hold }) {
    connections.get(connection).on(method, async (...args) => {
      emit({ event: "push", connection, method, args: toJson(args) });
      if (hold) await new Promise((go) => held.set(`${connection}/${method}`, go));
      if (answer && answer.$throw) throw new Error(answer.$throw);
      return fromJson(answer);
    });
  },
  async release({ connection, method }) {
    held.get(`${connection}/${method}`)();
  },
  async invoke({ connection, target, args }) {
    return toJson(await connections.get(connection).invoke(target, ...fromJson(args)));
  },
  // All calls in one turn, so that the client joins them; their results in order of completion.
  async burst({ connection, target, list }) {
    const done = [];
    const call = (args) => connections.get(connection).invoke(target, ...fromJson(args));
    await Promise.all(list.map((args) => call(args).then((value) => done.push(toJson(value)))));
    return done;
  },
  async send({ connection, target, args }) {
    await connections.get(connection).send(target, ...fromJson(args));
  },
  async stream({ connection, target, args }) {
    return await new Promise((resolve, reject) => {
      const items = [];
      connections.get(connection).stream(target, ...fromJson(args)).subscribe({
        next: (item) => items.push(item),
        complete: () => resolve(toJson(items)),
        error: reject,
      });
    });
  },
  async subscribe({ connection, call, target, args }) {
    const line = { connection, call };
    const subscription = connections.get(connection).stream(target, ...fromJson(args)).subscribe({
      next: (item) => emit({ event: "item", ...line, item: toJson(item) }),
      complete: () => emit({ event: "completed", ...line, error: null }),
      error: (error) => emit({ event: "completed", ...line, error: error.message }),
    });
    calls.set(`${connection}/${call}`, subscription);
  },
  async dispose({ connection, call }) {
    calls.get(`${connection}/${call}`).dispose();
  },
  async arrived({ connection }) {
    return arrived.get(connection);
  },
  async upload({ connection, call, target, args = [] }) {
    const subject = new signalR.Subject();
    const result = connections.get(connection).invoke(target, ...fromJson(args), subject);
    result.catch(() => {}); // Whoever ends the upload gets it.
    calls.set(`${connection}/${call}`, { subject, result });
  },
  async next({ connection, call, items }) {
    for (const item of fromJson(items)) calls.get(`${connection}/${call}`).subject.next(item);
  },
  async end({ connection, call, error = null }) {
    const { subject, result } = calls.get(`${connection}/${call}`);
    if (error === null) subject.complete();
    else subject.error(new Error(error));
    return toJson(await result);
  },
  async connectionId({ connection }) {
    return connections.get(connection).connectionId;
  },
  async connectionToken({ connection }) {
    return secrets.get(connection);
  },
  async stop({ connection }) {
    await connections.get(connection).stop();
  },
  // The same object again, as pages do it that come and go.
  async start({ connection }) {
    await connections.get(connection).start();
    return connections.get(connection).connectionId;
  },
  async off({ connection, method }) {
    connections.get(connection).off(method);
  },
  async stopAll({ scope }) {
    const mine = [...connections].filter(([name]) => name.startsWith(scope));
    for (const table of [connections, tokens, calls, secrets, arrived, held])
      for (const name of table.keys()) if (name.startsWith(scope)) table.delete(name);
    await Promise.all(mine.map(([, hub]) => hub.stop()));
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { id, op, ...options } = JSON.parse(line);
  operations[op](options).then(
    (value) => emit({ id, ok: true, value: value === undefined ? null : value }),
    (error) => emit({ id, ok: false, error: error.message }),
  );
}
process.exit(0);
