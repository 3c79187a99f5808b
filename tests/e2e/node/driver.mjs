// Drives Microsoft's own client: one JSON command per line on stdin, one JSON answer or event per line on stdout.
// It knows nothing of the server: every name comes from the test.
import { createInterface } from "node:readline";
import * as signalR from "@microsoft/signalr";
import { MessagePackHubProtocol } from "@microsoft/signalr-protocol-msgpack";

const connections = new Map();
const emit = (line) => process.stdout.write(JSON.stringify(line) + "\n");

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

const operations = {
  async connect({ connection, url, token, protocol, skipNegotiation = false, reconnect = false }) {
    let builder = new signalR.HubConnectionBuilder()
      .withUrl(url, {
        accessTokenFactory: () => token,
        transport: signalR.HttpTransportType.WebSockets,
        skipNegotiation,
      })
      .configureLogging(signalR.LogLevel.None);
    if (protocol === "messagepack") builder = builder.withHubProtocol(new MessagePackHubProtocol());
    if (reconnect) builder = builder.withAutomaticReconnect([0, 200, 200, 500, 500, 1000]);
    const hub = builder.build();
    hub.onclose((error) => emit({ event: "closed", connection, error: error ? error.message : null }));
    hub.onreconnecting(() => emit({ event: "reconnecting", connection }));
    hub.onreconnected(() => emit({ event: "reconnected", connection }));
    await hub.start();
    connections.set(connection, hub);
    return hub.connectionId;
  },
  async on({ connection, method, answer }) {
    connections.get(connection).on(method, (...args) => {
      emit({ event: "push", connection, method, args: toJson(args) });
      if (answer !== undefined) {
        if (answer && answer.$throw) throw new Error(answer.$throw);
        return fromJson(answer);
      }
    });
  },
  async invoke({ connection, target, args }) {
    return toJson(await connections.get(connection).invoke(target, ...fromJson(args)));
  },
  async send({ connection, target, args }) {
    await connections.get(connection).send(target, ...fromJson(args));
  },
  async stream({ connection, target, args }) {
    return await new Promise((resolve, reject) => {
      const items = [];
      connections.get(connection).stream(target, ...fromJson(args)).subscribe({
        next: (item) => items.push(item),
        complete: () => resolve(items),
        error: reject,
      });
    });
  },
  async stop({ connection }) {
    await connections.get(connection).stop();
  },
  async stopAll({ scope }) {
    for (const [name, hub] of connections)
      if (name.startsWith(scope)) {
        connections.delete(name);
        await hub.stop();
      }
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
