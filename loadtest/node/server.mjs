// Socket.IO on Node, a yardstick of another language: its public API with nothing around the messages. `echo` is
// acknowledged with its text, `join` enters a group, `relay` sends a text to all members of one. No login, no limits.
// With PEER_REDIS_URL its servers hear each other over its Redis adapter. Prints the same kind of ready line as the
// other servers do.
import { createServer } from "node:http";
import { Server } from "socket.io";

const options = { transports: ["websocket"], serveClient: false };
if (process.env.PEER_REDIS_URL) {
  const { createAdapter } = await import("@socket.io/redis-adapter");
  const { createClient } = await import("redis");
  const publishing = createClient({ url: process.env.PEER_REDIS_URL });
  const hearing = publishing.duplicate();
  await Promise.all([publishing.connect(), hearing.connect()]);
  options.adapter = createAdapter(publishing, hearing);
}
const http = createServer();
const io = new Server(http, options);

io.on("connection", (socket) => {
  socket.on("echo", (text, acknowledge) => acknowledge(text));
  socket.on("join", (group, acknowledge) => {
    socket.join(group);
    acknowledge("");
  });
  socket.on("relay", (group, text) => io.to(group).emit("message", text));
});

http.listen(0, "127.0.0.1", () => {
  console.log(JSON.stringify({ event: "ready", url: `http://127.0.0.1:${http.address().port}` }));
});
process.once("SIGTERM", () => process.exit(0));
