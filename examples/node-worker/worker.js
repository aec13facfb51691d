// The handlers that `gojob conformance` asks for. Your own worker has others.

import { setTimeout as wait } from "node:timers/promises";
import { Worker } from "./gojob.js";

const worker = new Worker({
  url: process.env.GOJOB_URL ?? "http://127.0.0.1:8700",
  token: process.env.GOJOB_WORKER_TOKEN,
  app: process.env.GOJOB_WORKER__APP ?? "conformance",
  concurrency: 20,
  handlers: {
    echo: async (params) => params,
    fail: async ({ message }) => {
      throw new Error(message);
    },
    sleep: async ({ ms }, { signal }) => wait(ms, undefined, { signal }),
    log: async ({ line }, ctx) => {
      ctx.log(line);
      ctx.progress(50, "half");
    },
    large: async ({ bytes }) => "x".repeat(bytes),
  },
});

for (const signal of ["SIGTERM", "SIGINT"]) process.once(signal, () => worker.drain());
await worker.run();
