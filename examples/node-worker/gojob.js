// A worker for gojob: the whole of docs/protocol.md, in one class. The words in comments like "§2 Seats" name its sections.

import os from "node:os";
import { decode, encode } from "@msgpack/msgpack";
import WebSocket from "ws";

const SUBPROTOCOL = "gojob.v2.msgpack";
const MAX_MESSAGE = 1 << 20;
const MAX_DOCUMENT = 256 << 10;
const LIST_ITEMS = 100;
const LIST_BYTES = 256 << 10;
const REMEMBERED = 10_000;
const TICK_MS = 50;
const FINAL_CODES = new Set([4400, 4401, 4403]); // somebody has to mend something first

const now = () => os.uptime() * 1000; // never steps, and counts sleep, too (§1 Clocks)
const random = (from, to) => from + Math.random() * (to - from);
const keyOf = (item) => `${item.run}@${item.attempt}`;
const clip = (text, bytes) => Buffer.from(String(text)).subarray(0, bytes).toString().replaceAll("\ufffd", "");
const pack = (value) => encode(value, { ignoreUndefined: true });

class FinalError extends Error {} // running again cannot help

export class Snooze extends Error {
  // too early: the run begins again after so many milliseconds, and counts no failure
  constructor(ms, reason = `put off for ${ms} ms`) {
    super(reason);
    this.ms = ms;
  }
}

export class Worker {
  // handlers: { name: async (params, ctx) => result }; ctx.signal is aborted when the run should end.
  constructor({ url, token, app, handlers, namespace = "default", concurrency = 10, log = console.error }) {
    Object.assign(this, { token, app, handlers, namespace, concurrency, log });
    this.url = new URL("/v1/worker", url.replace(/^http/, "ws")).href;
    this.seats = new Map(); // by run@attempt: what was assigned and has no verdict on its report or release (§2 Seats)
    this.over = new Set(); // what was given back (§2 Doubles)
    this.socket = null; // only between welcome and close
    this.seq = this.attempts = this.answeredAt = this.leaseMs = 0;
    this.draining = this.lost = false;
  }

  // --- the connection (§2 Reconnecting) ---

  async run() {
    const ticking = setInterval(() => this.tick(), TICK_MS);
    while (!(this.draining && this.seats.size === 0)) {
      const { code, error } = await this.converse();
      this.attempts += 1;
      const why = error ? `${error.code}: ${error.message} ${error.hint}` : `connection closed (${code})`;
      if (FINAL_CODES.has(code) && !this.session) throw new Error(why);
      if (this.draining && this.seats.size === 0) break;
      this.log(why);
      await new Promise((resolve) => {
        this.wake = resolve;
        setTimeout(resolve, this.pauseMs(code, error));
      });
    }
    clearInterval(ticking);
  }

  pauseMs(code, error) {
    const holding = this.seats.size > 0;
    if (this.moving) return 0;
    if (FINAL_CODES.has(code)) return 30_000;
    if (error?.retry_ms) return holding ? Math.min(error.retry_ms, 1000) : error.retry_ms * random(0.75, 1.25);
    if (holding) return random(0, 1000);
    if (this.session && this.attempts === 1) return random(1000, 3000);
    return random(0, Math.min(30_000, 1000 * 2 ** this.attempts));
  }

  converse() { // one connection, from its hello to its close
    return new Promise((resolve) => {
      const headers = { Authorization: `Bearer ${this.token}` };
      const options = { headers, perMessageDeflate: false, maxPayload: MAX_MESSAGE, handshakeTimeout: 10_000 };
      const socket = new WebSocket(this.url, SUBPROTOCOL, options); // fails where the server does not choose it
      let error = null;
      this.moving = false;
      socket.on("open", () => this.hello(socket));
      socket.on("message", (data) => {
        const frame = decode(data);
        if (frame.type === "error") error = frame;
        else if (frame.type === "welcome") this.welcome(socket, frame);
        else this[`on_${frame.type}`]?.(frame); // what is unknown is ignored
      });
      socket.on("error", (failure) => this.log(failure.message));
      socket.on("close", (code) => {
        this.socket = this.opening = null;
        resolve({ code, error });
      });
    });
  }

  hello(socket) {
    this.announced = this.capacity;
    this.opening = socket;
    this.helloAt = now();
    socket.send(pack({
      type: "hello", protocol: 2, sdk: "gojob-node-example/0.1.0", namespace: this.namespace, app: this.app,
      worker: `${os.hostname()}-${process.pid}`, host: os.hostname(), pid: process.pid, labels: {}, attributes: [],
      handlers: Object.keys(this.handlers), capacity: this.announced, held: this.heldRuns(), session: this.session,
    }));
  }

  welcome(socket, frame) {
    Object.assign(this, { socket, session: frame.session, heartbeatMs: frame.heartbeat_ms, leaseMs: frame.lease_ms });
    this.opening = null;
    this.attempts = 0;
    this.sent = new Map();
    this.lost = false;
    this.answeredAt = this.helloAt;
    this.renewAt = now() + this.heartbeatMs;
    this.queues = { acknowledge: [], note: [], start: [], report: [], release: [] };
    const dropped = new Set(frame.resumed ? (frame.drop ?? []).map(keyOf) : this.seats.keys());
    for (const [key, seat] of [...this.seats].filter(([key, seat]) => dropped.has(key) && !seat.orphan)) {
      seat.orphan = seat.outcome ? !frame.resumed : seat.begun; // it is reported all the same
      if (!seat.orphan) this.free(key);
      else if (!seat.outcome) this.interrupt(seat, "lost");
    }
    for (const seat of this.seats.values()) { // what the last connection left without an answer
      if (seat.outcome) this.put("report", seat.outcome);
      else if (seat.reason) this.put("release", { ...seat.ref, reason: seat.reason });
      else if (!seat.begun) this.put("start", seat.ref);
    }
    this.announce();
    this.leaveIfDone();
  }

  // --- what goes out: what came together leaves together (§1 Lists) ---

  send(frame) {
    this.socket?.send(pack(frame));
  }

  put(type, item) {
    if (!this.socket) return; // the next welcome finds it in the seats
    this.queues[type].push(item);
    this.flushing ??= setImmediate(() => this.flush());
  }

  flush() {
    this.flushing = null;
    for (const [type, queue] of Object.entries(this.queues)) {
      while (this.socket && queue.length > 0) {
        const { reason } = queue[0]; // of a release: a frame has one
        let count = 0;
        for (let bytes = 0; count < LIST_ITEMS && queue[count]?.reason === reason && queue[count]; count += 1) {
          bytes += pack(queue[count]).length;
          if (count > 0 && bytes > LIST_BYTES) break;
        }
        const items = queue.splice(0, count).map(({ reason: _, ...item }) => item);
        this.send({ type, [{ report: "outcomes", note: "entries" }[type] ?? "runs"]: items, reason });
      }
    }
  }

  announce(again = false) {
    if (!again && this.capacity === this.announced) return;
    this.announced = this.capacity;
    this.send({ type: "renew", capacity: this.announced });
  }

  get capacity() {
    const orphans = [...this.seats.values()].filter((seat) => seat.orphan && !seat.outcome).length;
    return this.draining ? 0 : this.concurrency - orphans;
  }

  heldRuns() {
    const ours = [...this.seats.values()].filter((seat) => !seat.orphan);
    return ours.map((seat) => ({ ...seat.ref, started: seat.begun }));
  }

  tick() {
    const moment = now();
    if (this.opening && moment > this.helloAt + 10_000) this.opening.terminate(); // no welcome
    if (this.session && !this.lost && moment > this.answeredAt + this.leaseMs) { // §2 Lease
      this.lost = true;
      for (const seat of this.seats.values()) if (seat.begun && !seat.outcome) this.interrupt(seat, "lost");
    }
    if (!this.socket) return;
    if (moment > this.answeredAt + 0.8 * this.leaseMs) this.socket.terminate(); // nobody answers
    if (moment >= this.renewAt) {
      this.renewAt = moment + this.heartbeatMs;
      this.sent.set(++this.seq, moment);
      this.send({ type: "renew", seq: this.seq, held: this.heldRuns().length });
    }
  }

  // --- what comes in ---

  on_assign({ runs }) {
    for (const run of runs) {
      const key = keyOf(run);
      if (this.seats.has(key) || this.over.has(key)) continue;
      const ref = { run: run.run, attempt: run.attempt, fence: run.fence };
      const seat = { run, ref, begun: false, orphan: false, controller: new AbortController() };
      this.seats.set(key, seat);
      if (this.draining) this.giveBack(seat, "draining");
      else if (!Object.hasOwn(this.handlers, run.handler)) this.giveBack(seat, "unknown_handler");
      else if (this.seats.size > this.concurrency) this.giveBack(seat, "rejected");
      else {
        this.put("start", ref); // within 5 s, or the run is given to somebody else (§2 Starting)
        if (!run.confirm) this.begin(seat);
      }
    }
  }

  on_verdict({ of, runs }) {
    for (const item of runs) {
      const seat = this.seats.get(keyOf(item));
      if (!seat) continue;
      if (of !== "start") {
        if (seat.outcome || seat.reason) this.free(keyOf(item));
      } else if (seat.begun) {
        if (item.verdict !== "ok" && item.verdict !== "late") {
          this.interrupt(seat, item.verdict === "canceled" ? "canceled" : "lost");
        }
      } else if (!seat.outcome && !seat.reason) { // it waits for this
        if (item.verdict === "ok") this.begin(seat);
        else if (item.verdict === "canceled") this.finish(seat, { outcome: "canceled" });
        else this.giveBack(seat, "rejected");
      }
    }
  }

  on_cancel({ runs }) {
    for (const item of runs) {
      const seat = this.seats.get(keyOf(item));
      if (!seat) continue;
      this.put("acknowledge", { run: item.run, attempt: item.attempt });
      if (seat.begun) this.interrupt(seat, item.reason === "run_limit" ? "timeout" : "canceled");
      else if (!seat.outcome && !seat.reason) this.finish(seat, { outcome: "canceled" });
    }
  }

  on_renewed({ seq }) {
    this.answeredAt = this.sent.get(seq) ?? this.answeredAt;
    for (const old of this.sent.keys()) if (old <= seq) this.sent.delete(old);
    this.lost = false;
  }

  on_sync() {
    this.send({ type: "resume", runs: this.heldRuns() });
  }

  on_move({ within_ms }) {
    const socket = this.socket;
    this.moving = true;
    setTimeout(() => socket.close(1000), random(0, within_ms / 2));
  }

  // --- runs ---

  async begin(seat) {
    const { run } = seat;
    seat.begun = true;
    seat.startedMs = Date.now();
    if (run.run_limit_ms) {
      seat.timer = setTimeout(() => this.interrupt(seat, "timeout"), Math.min(run.run_limit_ms, 2 ** 31 - 1));
    }
    const note = (entry) => this.put("note", { run: run.run, attempt: run.attempt, ...entry });
    const ctx = {
      ...run,
      signal: seat.controller.signal,
      shardParam: run.shard_param?.length ? decode(run.shard_param) : null,
      log: (text, level = "info") => note({ log: [{ at: Date.now(), level, text: clip(text, 16 << 10) }] }),
      progress: (percent, message = "") => note({ progress: { percent, message: clip(message, 4096) } }),
    };
    try {
      const value = await this.handlers[run.handler](run.param.length ? decode(run.param) : null, ctx);
      const result = value === undefined || value === null ? undefined : encode(value);
      if (result?.length > MAX_DOCUMENT) throw new FinalError(`the result takes ${result.length} bytes, over 256 KiB`);
      this.finish(seat, seat.cause === "timeout" ? { outcome: "timeout" } : { outcome: "ok", result });
    } catch (failure) {
      const { name = "Error", message = failure, stack = "" } = failure ?? {};
      const error = { type: clip(name, 255), message: clip(message, 4096), traceback: clip(stack, 8192) };
      const ends = failure instanceof FinalError || seat.cause === "lost";
      const disposition = ends ? "final" : failure instanceof Snooze ? "snooze" : undefined;
      const delay_ms = failure instanceof Snooze ? failure.ms : undefined;
      if (seat.cause === "canceled") this.finish(seat, { outcome: "canceled" });
      else this.finish(seat, { outcome: seat.cause === "timeout" ? "timeout" : "error", error, disposition, delay_ms });
    }
  }

  interrupt(seat, cause) {
    if (cause === "lost" && !seat.run.confirm) return; // it may go on; its report may be fenced
    seat.cause ??= cause;
    seat.controller.abort(new Error(cause));
  }

  finish(seat, outcome) {
    clearTimeout(seat.timer);
    const ended_ms = Date.now();
    seat.outcome = { ...seat.ref, started_ms: Math.min(seat.startedMs ?? ended_ms, ended_ms), ended_ms, ...outcome };
    if (this.socket) this.queues.start = this.queues.start.filter((ref) => ref !== seat.ref); // the report says it, too
    this.put("report", seat.outcome);
    this.announce();
  }

  giveBack(seat, reason) {
    seat.reason = reason;
    this.put("release", { ...seat.ref, reason });
    setTimeout(() => this.announce(true), 1000); // a release ends waiting, this begins it again
  }

  free(key) {
    this.seats.delete(key);
    this.over.add(key);
    if (this.over.size > REMEMBERED) this.over.delete(this.over.values().next().value);
    this.leaveIfDone();
  }

  // --- the end (§2 Leaving) ---

  drain() {
    this.draining = true;
    this.announce();
    if (!this.socket && this.seats.size === 0) this.wake?.();
    this.leaveIfDone();
  }

  leaveIfDone() {
    if (!this.draining || this.seats.size > 0 || !this.socket) return;
    this.flush();
    this.send({ type: "leave" });
    this.socket.close(1000);
  }
}
