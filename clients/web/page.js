// The page of a visit: who is there, what is written, and the call. Everything that others say is shown as text.

import { Call, RELAY_PEER, newCertificate } from "./call.js";
import { credentials, forget, keep } from "./credentials.js";
import { Hub } from "./hub.js";

const FLOW_MS = 500;
const MAX_EARLY = 256;
const REPORT_MS = 5000;
const $ = (id) => document.getElementById(id);
const people = new Map();
const faces = new Map();
let hub, visit, me, ringing, call;
let lastMessage = 0;
let early = [];
let inCall = [];

const tell = (text) => ($("status").textContent = text);
const show = (id, shown) => ($(id).hidden = !shown);
const press = (id, pressed) => $(id).setAttribute("aria-pressed", String(pressed));
const isPressed = (id) => $(id).getAttribute("aria-pressed") === "true";
const nameOf = (person) => person?.name ?? person?.user ?? person?.role ?? "somebody";
const named = (user) => nameOf([...people.values()].find((one) => one.user === user) ?? { user });

/** A method of the hub. A refusal, and a call that failed, is told and is an answer that is not `ok`. */
async function ask(target, payload) {
  try {
    const answer = await hub.invoke(target, { visit, ...payload });
    if (!answer.ok) tell(answer.error.message);
    return answer;
  } catch (error) {
    tell(`This did not work: ${error.message}`);
    return { ok: false };
  }
}

// The visit

async function enter(found) {
  visit = found.visit;
  hub = new Hub(found.token, {
    ParticipantChanged: changed,
    VisitChanged: (news) => news.state === "live" || over(news.state),
    MessageReceived: ({ message }) => written(message),
    IncomingCall: rings,
    AnsweredElsewhere: stopRinging,
    CallChanged: callChanged,
    CallEnded: callEnded,
    QualityChanged: quality,
    Signal: heard,
  });
  hub.onreconnecting = () => tell("The connection was lost. Trying again…");
  hub.onreconnected = back;
  hub.onclose = () => tell("The connection has ended. Load the page again to come back.");
  await hub.start();
  await hub.invoke("Hello", { contract: 1, app: "auricle-page" });
  await join();
}

async function join() {
  const answer = await ask("JoinVisit", { after: lastMessage });
  if (!answer.ok) {
    show("enter", true);
    return forget();
  }
  me = answer.participant;
  people.clear();
  for (const one of answer.visit.participants) people.set(one.participant, one);
  answer.messages.forEach(written);
  show("enter", false);
  show("room", true);
  drawPeople();
  tell(answer.admitted ? "You are in the visit." : "You are in the waiting room. You will be let in.");
}

async function back() {
  await join();
  if (!call) return;
  const answer = await ask("AnswerCall", { callId: call.id });
  if (answer.ok) await call.returned(answer);
  else hangUp();
}

function over(state) {
  if (["ended", "cancelled", "no_show"].includes(state)) tell("The visit is over.");
}

async function changed({ participant }) {
  const before = people.get(participant.participant);
  people.set(participant.participant, participant);
  // Who is let in learns of the others, and who comes or goes is worth a word.
  if (participant.participant === me && participant.admission !== before?.admission) return join();
  if (before?.present !== participant.present || before?.admission !== participant.admission) {
    const where = { waiting: "waits to be let in", admitted: "is in the visit" }[participant.admission];
    if (where) tell(`${nameOf(participant)} ${participant.present ? where : "has left"}.`);
  }
  drawPeople();
}

function drawPeople() {
  const leads = people.get(me)?.role === "professional";
  $("people").replaceChildren(
    ...[...people.values()].map((one) => {
      const line = document.createElement("li");
      const where = one.admission === "waiting" ? "waits" : one.present ? "here" : "not here";
      line.append(`${nameOf(one)}${one.participant === me ? " (you)" : ""}, ${one.role}: ${where} `);
      if (leads && one.admission === "waiting") {
        const button = document.createElement("button");
        button.type = "button";
        button.textContent = `Let ${nameOf(one)} in`;
        button.dataset.admit = one.participant;
        button.onclick = () => ask("AdmitToVisit", { participant: one.participant });
        line.append(button);
      }
      return line;
    }),
  );
}

// What is written

function written(message) {
  if (message.n <= lastMessage) return;
  lastMessage = message.n;
  const line = document.createElement("li");
  line.textContent = `${nameOf(people.get(message.participant))}: ${message.text}`;
  $("messages").append(line);
  line.scrollIntoView({ block: "nearest" });
}

async function say(event) {
  event.preventDefault();
  const answer = await ask("SendMessage", { clientId: crypto.randomUUID(), text: $("text").value });
  if (answer.ok) $("text").value = "";
}

// The call

function rings(news) {
  ringing = news;
  const what = news.media === "video" ? "a call with picture" : "a call without picture";
  $("caller").textContent = `${named(news.caller)}: ${what}`;
  showCall();
}

function stopRinging() {
  ringing = null;
  showCall();
}

async function media(wanted) {
  const audio = true;
  try {
    return await navigator.mediaDevices.getUserMedia({ audio, video: wanted === "video" });
  } catch (error) {
    if (wanted !== "video") throw error;
    // No camera is no reason not to talk.
    return navigator.mediaDevices.getUserMedia({ audio });
  }
}

async function begin(target, payload, wanted) {
  let stream;
  try {
    stream = await media(wanted);
  } catch (error) {
    return tell(`Your microphone cannot be used (${error.name}).`);
  }
  const answer = await ask(target, payload);
  if (!answer.ok) return stream.getTracks().forEach((track) => track.stop());
  ringing = null;
  inCall = answer.peers;
  call = new Call({
    answer,
    stream,
    certificate: await newCertificate(),
    say: (to, kind, what) =>
      hub.invoke("SendSignal", { visit, callId: answer.callId, to, kind, ...what }).catch(() => ({ ok: false })),
    onStream,
    onGone,
  });
  $("own").srcObject = stream;
  press("mute", false);
  press("camera", false);
  tell(answer.state === "ringing" ? "Ringing…" : inTheCall());
  showCall();
  early.splice(0).forEach(heard);
  await call.offerAll(answer.offerTo);
  told();
}

/** What a peer says before the answer to our own call has come waits for it. */
function heard(signal) {
  if (!call) early = [...early.slice(-MAX_EARLY), signal];
  else if (call.id === signal.callId) call.hear(signal);
}

function callChanged({ callId, peers, state, backend }) {
  if (call?.id !== callId) return;
  call.changed({ peers, backend });
  inCall = peers;
  nameFaces();
  showCall();
  if (state === "active") tell(inTheCall());
}

const inTheCall = () => (call.isRelayed ? "In the call, through the server." : "In the call.");

function nameFaces() {
  const others = inCall.filter((one) => one.peer !== call?.peer && one.state !== "left");
  for (const [peer, face] of faces) {
    // Of the server come the sounds of all others, and the picture of one of them.
    const shown = peer === RELAY_PEER ? others : others.filter((one) => one.peer === peer);
    const names = shown.map(({ user, muted }) => (muted ? `${named(user)} (muted)` : named(user)));
    face.querySelector("figcaption").textContent = names.join(", ");
  }
}

/** What the server makes of what this end has reported. */
function quality({ callId, peer, grade, advice }) {
  if (call?.id !== callId || call.peer !== peer || grade === "good") return;
  const helps = advice.map((one) => one.replaceAll("_", " ")).join(", ");
  tell(`The connection is ${grade}.${helps ? ` What would help: ${helps}.` : ""}`);
}

function callEnded({ callId, reason }) {
  if (ringing?.callId === callId) ringing = null;
  if (call?.id === callId) release();
  tell(`The call is over: ${reason.replaceAll("_", " ")}.`);
  showCall();
}

/** Somebody cannot be reached: the call moves once everybody in it says so. */
async function throughServer() {
  const answer = await ask("StartCall", { media: call.media, backend: "relay" });
  if (answer.ok && answer.backend !== "relay") tell("The call goes through the server once the others want that too.");
}

async function hangUp() {
  const ending = call?.id;
  release();
  showCall();
  if (ending) await ask("EndCall", { callId: ending });
}

function release() {
  call?.close();
  call = null;
  early = [];
  $("own").srcObject = null;
}

function onStream(peer, stream) {
  let face = faces.get(peer);
  if (!face) {
    face = document.createElement("figure");
    const video = document.createElement("video");
    Object.assign(video, { autoplay: true, playsInline: true });
    video.setAttribute("aria-label", "Picture of the other end");
    face.append(video, document.createElement("figcaption"));
    face.dataset.peer = peer;
    faces.set(peer, face);
    $("faces").append(face);
  }
  face.querySelector("video").srcObject = stream;
  nameFaces();
}

function onGone(peer) {
  faces.get(peer)?.remove();
  faces.delete(peer);
}

function showCall() {
  show("ringing", ringing && !call);
  show("idle", !ringing && !call);
  show("in-call", !!call);
  show("through-server", call && !call.isRelayed);
  show("camera", call?.stream.getVideoTracks().length > 0);
}

/** Mute and camera go by what the buttons show; the others are told. */
function told() {
  if (!call) return;
  const [muted, dark] = [isPressed("mute"), isPressed("camera")];
  for (const track of call.stream.getAudioTracks()) track.enabled = !muted;
  for (const track of call.stream.getVideoTracks()) track.enabled = !dark;
  const camera = call.stream.getVideoTracks().length > 0 && !dark;
  return ask("SetCallMedia", { callId: call.id, muted, camera });
}

async function drawFlow() {
  if (!call) return;
  const flow = await call.flow();
  Object.assign($("flow").dataset, flow);
  $("flow").textContent = `${flow.packets} packets came in, ${flow.lost} were lost; ${flow.frames} pictures were shown.`;
}

/** The server hears how it goes; one that does not want to know is not told again. */
async function report() {
  if (!call || hub.state !== "Connected") return;
  const { id } = call;
  try {
    for (const one of await call.quality()) await hub.invoke("ReportQuality", { visit, callId: id, ...one });
  } catch {
    clearInterval(reporting);
  }
}

function toggle(id) {
  $(id).onclick = () => {
    press(id, !isPressed(id));
    told();
  };
}

$("enter").onsubmit = (event) => {
  event.preventDefault();
  enter(keep({ visit: $("visit").value, token: $("token").value })).catch(failed);
};
$("say").onsubmit = say;
$("start-video").onclick = () => begin("StartCall", { media: "video" }, "video");
$("start-audio").onclick = () => begin("StartCall", { media: "audio" }, "audio");
$("answer").onclick = () => begin("AnswerCall", { callId: ringing.callId }, ringing.media);
$("decline").onclick = () => ask("DeclineCall", { callId: ringing.callId });
$("hang-up").onclick = hangUp;
$("through-server").onclick = throughServer;
toggle("mute");
toggle("camera");
// A network that is there again may be another one.
window.addEventListener("online", () => call?.restart());
setInterval(drawFlow, FLOW_MS);
const reporting = setInterval(report, REPORT_MS);

function failed(error) {
  forget();
  show("enter", true);
  tell(`This did not work: ${error.message}`);
}

try {
  const found = await credentials();
  if (found) await enter(found);
  else show("enter", true);
} catch (error) {
  failed(error);
}
