// An EventSource as a browser has it: connects, drops the line on purpose every 20 events, and lets EventSource come back by itself.
// Prints each event's data as one line; ends when the server says 204 after the terminal event.
import { createRequire } from "node:module";
const require = createRequire(process.cwd() + "/");
const { EventSource } = require("eventsource");

const url = process.argv[2];
const types = ["job.queued", "job.started", "job.waiting", "job.resumed", "step.started", "step.progress", "step.delta", "step.retrying",
  "step.completed", "step.failed", "step.skipped", "job.snapshot", "reset", "job.succeeded", "job.failed", "job.canceled", "job.expired"];
const terminal = new Set(types.slice(-4));
let seen = 0;
let abort = null;
const source = new EventSource(url, {
  fetch: (input, init) => {
    abort = new AbortController();
    return fetch(input, { ...init, signal: AbortSignal.any([abort.signal, ...(init.signal ? [init.signal] : [])]) });
  },
});
const limit = setTimeout(() => { console.error("no end within 50 s"); process.exit(1); }, 50000);
for (const type of types) {
  source.addEventListener(type, (event) => {
    console.log(event.data);
    if (terminal.has(type)) {
      clearTimeout(limit);
      source.close();
      process.exit(0);
    }
    if (++seen % 20 === 0) abort.abort();
  });
}
