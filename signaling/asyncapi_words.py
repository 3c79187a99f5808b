"""What the AsyncAPI document says in words, in CommonMark: how SignalR and Socket.IO carry its payloads."""

from typing import Final

__all__ = ["ABOUT", "CHANNEL", "FOR_BROWSERS", "FROM_NEGOTIATION", "SOCKETIO_CHANNEL", "SOCKETIO_TRANSPORT"]

ABOUT: Final = """\
Fitting software and the phones that carry hearing aids meet on one hub. Any SignalR or Socket.IO client connects; this
document lists what it may call (`receive`) and what it is sent (`send`). Operations name SignalR's channel; over the
channel of Socket.IO the same messages travel as events.

* Each method takes one object, or nothing, and answers with one. Keys are camelCase in JSON and in MessagePack.
* A refusal of the domain is a result: `Failure`, with a stable `code`. An error of the call itself (not allowed,
  unknown object, bad argument) is the `error` of the completion; it ends in `HubException: [code] message`.
* `x-auricle-roles` names who may call a method and how the caller must stand to the object that the payload's field
  `x-auricle-object` names: `any`, `assigned` (by the clinic), `own` or `participant` (of the visit). An object that is
  unknown or not the caller's looks the same.
* `x-auricle-stream`: call it as a stream; each item is a message of the reply. `x-auricle-lane`: never waits behind
  plain calls.
"""

CHANNEL: Final = """\
A payload is the one element of `arguments` of a SignalR hub message, or its `result`; what surrounds it is not
repeated in each message.

**Connecting.** `POST {address}/negotiate?negotiateVersion=1` with the token gives a `connectionToken`; then open a
WebSocket at `{address}?id={connectionToken}`. A client may also open the WebSocket at once, without `id`. Server-Sent
Events and long polling carry the same messages.

**Handshake.** The client sends `{"protocol": "json", "version": 1}` and the byte 0x1E, or asks for `messagepack`; the
server answers `{}` and 0x1E, or an `error` and closes.

**JSON.** Each hub message is UTF-8 text that ends with 0x1E; a frame may hold several.

| message | sent by | reads |
| --- | --- | --- |
| call | client | `{"type": 1, "invocationId": "1", "target": "NAME", "arguments": [PAYLOAD]}` |
| answer | server | `{"type": 3, "invocationId": "1", "result": PAYLOAD}`, or `error` for `result` |
| push | server | `{"type": 1, "target": "NAME", "arguments": [PAYLOAD]}`; one with a reply has an `invocationId` |
| reply to a push | client | as an answer |
| call of a stream | client | as a call, with `"type": 4` |
| item of a stream | server | `{"type": 2, "invocationId": "1", "item": PAYLOAD}`, then an answer without result |
| ping | both | `{"type": 6}` every 15 s; a peer that is silent for 30 s is gone |
| close | both | `{"type": 7}`, with `error` and `allowReconnect` when there is a reason |

**MessagePack.** Each hub message is a variable-length size and an array, `[1, {}, "1", "NAME", [PAYLOAD]]` for a call;
payloads are maps with the same keys.

Names are matched without regard to case. Plain calls of one connection run one at a time and in order.
"""

SOCKETIO_CHANNEL: Final = """\
The same hub over Socket.IO 5 (Engine.IO 4), WebSocket, polling and the upgrade between them. A message is an event of
its name in the namespace `x-auricle-namespace`, with the payload as its one argument.

**Connecting.** The token is in the payload of CONNECT, `{"token": "..."}`, never in an address.

| message | sent by | reads |
| --- | --- | --- |
| call | client | an event with an acknowledgement |
| answer | server | the acknowledgement: the reply's payload, which has `ok` |
| error of the call | server | the acknowledgement `{"ok": false, "error": {"code", "message"}}`, without `errors` |
| push | server | an event; one with a reply has an acknowledgement |
| call of a stream | client | as a call; the acknowledgement is `{"ok": true, "stream": "s1"}` |
| item of a stream | server | `StreamItem {stream, item}`, then `StreamEnded {stream, ok, error?}` |
| end of a stream | client | `CancelStream {stream}` |
| close | server | `Close {allowReconnect, error?}`, then the transport ends |
"""

FOR_BROWSERS: Final = "The bearer token, for browsers, whose WebSockets and event streams carry no headers."
FROM_NEGOTIATION: Final = "The `connectionToken` that negotiation gave; absent without negotiation."
SOCKETIO_TRANSPORT: Final = "Polling needs the pod that opened its session; a WebSocket is a whole one."
