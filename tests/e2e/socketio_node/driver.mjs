// Drives socket.io-client: one JSON command per line on stdin, one JSON answer or event per line on stdout.
// It knows nothing of the server: every name comes from the test.
import { createInterface } from "node:readline";
import { io } from "socket.io-client";

const sockets = new Map(); // name -> Socket
const emit = (line) => process.stdout.write(JSON.stringify(line) + "\n");
const toJson = (value) => (value === undefined ? null : value);

const operations = {
  connect({ connection, url, token, transports, reconnection = false }) {
    const socket = io(url, { auth: { token }, transports, reconnection, reconnectionDelay: 100, forceNew: true });
    sockets.set(connection, socket);
    socket.onAny((method, ...args) => {
      const acknowledge = typeof args.at(-1) === "function" ? args.pop() : undefined;
      emit({ event: "push", connection, method, args: args.map(toJson) });
      acknowledge?.(socket.answers?.get(method));
    });
    socket.on("disconnect", (reason) => emit({ event: "disconnected", connection, reason }));
    socket.io.engine.on("upgrade", ({ name }) => emit({ event: "upgraded", connection, transport: name }));
    return new Promise((resolve, reject) => {
      socket.once("connect", () => {
        socket.on("connect", () => emit({ event: "reconnected", connection, id: socket.id }));
        resolve(socket.id);
      });
      // Behind the client's own word about it, if it has one.
      socket.io.once("close", (reason) => setImmediate(() => reject(new Error(reason))));
      socket.once("connect_error", (error) => reject(new Error(JSON.stringify({ message: error.message, data: error.data }))));
    });
  },
  // What the client acknowledges a question of the server with.
  on({ connection, method, answer }) {
    const socket = sockets.get(connection);
    socket.answers = (socket.answers ?? new Map()).set(method, answer);
  },
  async invoke({ connection, target, args }) {
    return toJson(await sockets.get(connection).timeout(10_000).emitWithAck(target, ...args));
  },
  send({ connection, target, args }) {
    sockets.get(connection).emit(target, ...args);
  },
  binary({ connection, target, size }) {
    sockets.get(connection).emit(target, Buffer.alloc(size));
  },
  transport({ connection }) {
    return sockets.get(connection).io.engine.transport.name;
  },
  stop({ connection }) {
    sockets.get(connection).disconnect();
  },
  stopAll({ scope }) {
    for (const [name, socket] of sockets) if (name.startsWith(scope)) socket.disconnect();
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { id, op, ...options } = JSON.parse(line);
  Promise.resolve()
    .then(() => operations[op](options))
    .then(
      (value) => emit({ id, ok: true, value: toJson(value) }),
      (error) => emit({ id, ok: false, error: error.message }),
    );
}
