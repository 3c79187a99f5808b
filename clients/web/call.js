// One call: a peer connection with each of the others, and what comes over them.
//
// The server says to whom offers are to be made and refuses one of two that cross. This module knows neither the page
// nor the hub: what is to be said goes out by `say`, what was said comes in by `hear`.

/** The server's own end, which passes media on in a call with the backend `relay`: nobody in a call has this number. */
export const RELAY_PEER = 63;

/** The certificate that a description shows. A browser's own copy of it may name it by another hash. */
const shownBy = (sdp) => /^a=fingerprint:sha-256 (.+?)\r?$/im.exec(sdp)?.[1];

/** A certificate that every connection of this end shows: whoever answers with another one is refused. */
export function newCertificate() {
  return RTCPeerConnection.generateCertificate({ name: "ECDSA", namedCurve: "P-256" });
}

export class Call {
  #links = new Map();
  #turn = Promise.resolve();

  /**
   * @param answer what `StartCall` or `AnswerCall` was answered with
   * @param say (to, kind, {sdp} | {candidate, sdpMid, sdpMLineIndex}) => Promise of the hub's answer
   * @param onStream (peer, MediaStream) when somebody's sound or picture is there
   */
  constructor({ answer, stream, certificate, say, onStream, onGone }) {
    this.id = answer.callId;
    this.media = answer.media;
    this.stream = stream;
    this.certificate = certificate;
    this.#learn(answer);
    this.say = say;
    this.onStream = onStream;
    this.onGone = onGone;
  }

  /** Back after the connection to the server was lost: everybody gets an offer again. */
  returned(answer) {
    this.#learn(answer);
    if (this.isRelayed) this.only([RELAY_PEER]);
    return this.offerAll(answer.offerTo, "restart");
  }

  async offerAll(peers, kind = "offer") {
    for (const peer of peers) await this.#inTurn(() => this.#offer(peer, kind));
  }

  /** The network has changed: find another way to everybody. */
  restart() {
    return this.offerAll([...this.#links.keys()], "restart");
  }

  hear(signal) {
    return this.#inTurn(() => (signal.kind === "candidate" ? this.#candidate(signal) : this.#description(signal)));
  }

  /** Who takes part now; or media go through the server from now on, which is then the only other end. */
  changed({ peers, backend }) {
    if (this.isRelayed) return;
    this.isRelayed = backend === "relay";
    if (!this.isRelayed) return this.only(peers.filter((one) => one.state !== "left").map((one) => one.peer));
    // What the others have said before that is worked off first, or it would connect to them again.
    this.#inTurn(() => this.only([RELAY_PEER]));
    return this.offerAll([RELAY_PEER]);
  }

  /** Whoever is not among these is let go. */
  only(peers) {
    for (const peer of [...this.#links.keys()]) if (!peers.includes(peer)) this.#drop(peer);
  }

  close() {
    this.only([]);
    for (const track of this.stream.getTracks()) track.stop();
  }

  /** What has come in from everybody: packets, decoded pictures, and samples of sound that were not silence made up here. */
  async flow() {
    const sum = { packets: 0, lost: 0, frames: 0, samples: 0, sent: 0, connected: 0 };
    for (const { pc } of this.#links.values()) {
      sum.connected += pc.connectionState === "connected";
      for (const report of (await pc.getStats()).values()) {
        if (report.type === "outbound-rtp") sum.sent += report.packetsSent;
        if (report.type !== "inbound-rtp") continue;
        sum.packets += report.packetsReceived;
        sum.lost += report.packetsLost;
        sum.frames += report.framesDecoded ?? 0;
        sum.samples += Math.max(0, (report.totalSamplesReceived ?? 0) - (report.concealedSamples ?? 0));
      }
    }
    return sum;
  }

  /** How the way from each of the others was since this was asked last, as `ReportQuality` takes it. */
  async quality() {
    const found = [];
    for (const [to, link] of this.#links) {
      const now = { packets: 0, lost: 0, frames: 0, at: performance.now() };
      const report = { to, lossPermille: 0, jitterMs: 0 };
      for (const one of (await link.pc.getStats()).values()) {
        if (one.type === "candidate-pair" && one.nominated && one.currentRoundTripTime !== undefined)
          report.rttMs = Math.round(one.currentRoundTripTime * 1000);
        if (one.type !== "inbound-rtp") continue;
        now.packets += one.packetsReceived;
        now.lost += Math.max(0, one.packetsLost);
        now.frames += one.framesDecoded ?? 0;
        report.jitterMs = Math.max(report.jitterMs, Math.round(one.jitter * 1000));
      }
      const { told } = link;
      link.told = now;
      if (!told || now.packets < told.packets) continue;
      const [come, lost] = [now.packets - told.packets, Math.max(0, now.lost - told.lost)];
      report.lossPermille = Math.round((1000 * lost) / Math.max(1, come + lost));
      if (this.media === "video") report.framesPerS = Math.round((1000 * (now.frames - told.frames)) / (now.at - told.at));
      found.push(report);
    }
    return found;
  }

  #learn(answer) {
    this.peer = answer.peer;
    this.isRelayed = answer.backend === "relay";
    this.iceServers = answer.iceServers;
  }

  #anew(peer) {
    this.#drop(peer);
    const pc = new RTCPeerConnection({ iceServers: this.iceServers, certificates: [this.certificate] });
    const link = { pc, shown: undefined };
    this.#links.set(peer, link);
    for (const track of this.stream.getTracks()) pc.addTrack(track, this.stream);
    pc.ontrack = (event) => this.onStream(peer, event.streams[0] ?? new MediaStream([event.track]));
    pc.onicecandidate = ({ candidate }) => {
      if (!candidate) return;
      const { sdpMid, sdpMLineIndex } = candidate;
      this.say(peer, "candidate", { candidate: candidate.candidate, sdpMid, sdpMLineIndex });
    };
    pc.onconnectionstatechange = () => {
      // The lower number begins, so that the two do not do it at once.
      if (pc.connectionState === "failed" && this.peer < peer) this.offerAll([peer], "restart");
    };
    return link;
  }

  async #offer(peer, kind) {
    const { pc } = this.#links.get(peer) ?? this.#anew(peer);
    if (kind === "restart") pc.restartIce();
    await pc.setLocalDescription(await pc.createOffer());
    const said = await this.say(peer, kind, { sdp: pc.localDescription.sdp });
    // Theirs counts, or nobody is there.
    if (!said.ok && pc.signalingState === "have-local-offer") await pc.setLocalDescription({ type: "rollback" });
  }

  async #description({ peer, kind, sdp }) {
    let link = this.#links.get(peer);
    const isOffering = link?.pc.signalingState === "have-local-offer";
    if (kind === "answer") {
      if (!isOffering) return;
      await link.pc.setRemoteDescription({ type: "answer", sdp });
      link.shown = shownBy(sdp);
      return;
    }
    if (isOffering && this.peer < peer) return;
    // Another certificate is another connection at the other end: ours to the old one is of no use any more.
    if (!link || (link.shown && link.shown !== shownBy(sdp))) link = this.#anew(peer);
    link.shown = shownBy(sdp);
    await link.pc.setRemoteDescription({ type: "offer", sdp });
    await link.pc.setLocalDescription();
    await this.say(peer, "answer", { sdp: link.pc.localDescription.sdp });
  }

  async #candidate({ peer, candidate, sdpMid, sdpMLineIndex }) {
    const pc = this.#links.get(peer)?.pc;
    if (pc?.remoteDescription && candidate) await pc.addIceCandidate({ candidate, sdpMid, sdpMLineIndex });
  }

  #drop(peer) {
    const pc = this.#links.get(peer)?.pc;
    if (!pc) return;
    this.#links.delete(peer);
    pc.onicecandidate = pc.onconnectionstatechange = pc.ontrack = null;
    pc.close();
    this.onGone(peer);
  }

  /** One description at a time: making one takes a while, and what comes meanwhile may undo it. */
  #inTurn(work) {
    // A signal that makes no sense is its sender's fault, and ends nothing here.
    return (this.#turn = this.#turn.then(work).catch((error) => console.warn(`call: ${error.name}`)));
  }
}
