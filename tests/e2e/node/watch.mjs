// An EventSource as a browser has it: prints each event's data as one line, comes back by itself when the line breaks, and ends when the server
// answers 204 after the terminal event (EventSource then closes for good).
import { createRequire } from "node:module";
const require = createRequire(process.cwd() + "/");
const { EventSource } = require("eventsource");

const types = ["job.queued", "job.started", "job.waiting", "job.resumed", "step.started", "step.progress", "step.delta", "step.retrying",
  "step.completed", "step.failed", "step.skipped", "job.snapshot", "reset", "job.succeeded", "job.failed", "job.canceled", "job.expired"];
const source = new EventSource(process.argv[2]);
let ended = false;
const limit = setTimeout(() => { console.error("no end within 50 s"); process.exit(1); }, 50000);
for (const type of types) {
  source.addEventListener(type, (event) => {
    console.log(event.data);
    ended = ended || /^job\.(succeeded|failed|canceled|expired)$/.test(type);
  });
}
source.addEventListener("error", () => {
  if (source.readyState !== EventSource.CLOSED) return;
  clearTimeout(limit);
  if (!ended) console.error("closed before the end");
  process.exit(ended ? 0 : 1);
});
