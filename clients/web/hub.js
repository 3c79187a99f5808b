// The way to the server: the JSON hub protocol over a WebSocket, as much of it as a page needs. Calls, what is pushed, and
// coming back when the connection is lost. What a call means is the page's.

const END = "\x1e";
const [INVOCATION, COMPLETION, PING, CLOSE] = [1, 3, 6, 7];
const PING_MS = 15000;
const SILENCE_MS = 30000;
const TRIES_MS = [0, 500, 1000, 2000, 4000, 8000];
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

/** `pushes` are handlers by target. A connection that the server has ended for good is not tried again. */
export class Hub {
  state = "Disconnected";
  onreconnecting = () => {};
  onreconnected = () => {};
  onclose = () => {};
  #address;
  #pushes;
  #socket;
  #calls = new Map();
  #lastCall = 0;
  #heardAt = 0;
  #mayReturn = true;

  constructor(token, pushes) {
    this.#address = new URL("../hub", location);
    this.#address.protocol = this.#address.protocol.replace("http", "ws");
    this.#address.searchParams.set("access_token", token);
    this.#pushes = pushes;
  }

  /** Rejects when there is no connection, or the server wants none of this one. */
  async start() {
    await this.#open();
    setInterval(() => this.#look(), PING_MS);
  }

  /** What a method of the hub answers. Rejects with what the server said, or when the connection is lost meanwhile. */
  invoke(target, payload) {
    if (this.state !== "Connected") return Promise.reject(new Error("there is no connection"));
    const invocationId = String(++this.#lastCall);
    const answer = new Promise((resolve, reject) => this.#calls.set(invocationId, { resolve, reject }));
    this.#send({ type: INVOCATION, invocationId, target, arguments: [payload] });
    return answer;
  }

  #open() {
    return new Promise((resolve, reject) => {
      const socket = new WebSocket(this.#address);
      let rest = "";
      socket.onopen = () => socket.send(JSON.stringify({ protocol: "json", version: 1 }) + END);
      socket.onclose = () => (socket === this.#socket ? this.#lost() : reject(new Error("no connection to the server")));
      socket.onmessage = ({ data }) => {
        this.#heardAt = performance.now();
        const messages = (rest + data).split(END);
        rest = messages.pop();
        for (const message of messages.map((text) => JSON.parse(text))) {
          if (socket === this.#socket) this.#hear(message);
          else if (message.error) reject(new Error(message.error));
          else {
            this.#socket = socket;
            this.state = "Connected";
            resolve();
          }
        }
      };
    });
  }

  #send(message) {
    this.#socket.send(JSON.stringify(message) + END);
  }

  #hear(message) {
    if (message.type === INVOCATION) this.#pushes[message.target]?.(...message.arguments);
    else if (message.type === COMPLETION) {
      const call = this.#calls.get(message.invocationId);
      this.#calls.delete(message.invocationId);
      if (message.error) call?.reject(new Error(message.error));
      else call?.resolve(message.result);
    } else if (message.type === CLOSE) this.#mayReturn = message.allowReconnect === true;
  }

  /** One end that is silent may be gone without a word; so that the other end knows of this one, it says something. */
  #look() {
    if (this.state !== "Connected") return;
    if (performance.now() - this.#heardAt < SILENCE_MS) return this.#send({ type: PING });
    this.#socket.close();
    this.#lost();
  }

  async #lost() {
    this.#socket = null;
    const calls = [...this.#calls.values()];
    this.#calls.clear();
    for (const call of calls) call.reject(new Error("the connection was lost"));
    if (this.#mayReturn) {
      this.state = "Reconnecting";
      this.onreconnecting();
    }
    for (const ms of this.#mayReturn ? TRIES_MS : []) {
      await pause(ms);
      try {
        await this.#open();
        return this.onreconnected();
      } catch {
        // The next one may be luckier.
      }
    }
    this.state = "Disconnected";
    this.onclose();
  }
}
