// The work of the comparison, done by Restate: `node restate_work.mjs MODULES FOLDER sequential N | at_once RUNS`.
//
// Starts a server that keeps its data in FOLDER, and a service with durable no-op steps in this process, and
// calls it as a client does, over the server's ingress. Prints one JSON document: {"seconds": …}.

import { spawn } from "node:child_process";
import { createWriteStream } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const [modules, folder, what, number] = process.argv.slice(2);
const STEPS = 5;
const [SERVICE, INGRESS, ADMIN, NODE] = [19080, 18080, 19070, 15122];
const ADDRESS = "127.0.0.1";

// The SDK wants a newer Node than the long-term one that most machines have.
Promise.withResolvers ??= function withResolvers() {
  const made = {};
  made.promise = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }));
  return made;
};

process.env.RESTATE_LOGGING = "ERROR";
const restate = createRequire(join(modules, "x.js"))("@restatedev/restate-sdk");

async function steps(ctx, count) {
  for (let step = 0; step < count; step++) {
    await ctx.run(`s${step}`, () => step);
  }
  return count;
}

const work = restate.service({ name: "work", handlers: { steps } });

function server() {
  const settings = {
    RESTATE_BASE_DIR: folder,
    RESTATE_INGRESS__BIND_ADDRESS: `${ADDRESS}:${INGRESS}`,
    RESTATE_ADMIN__BIND_ADDRESS: `${ADDRESS}:${ADMIN}`,
    RESTATE_BIND_ADDRESS: `${ADDRESS}:${NODE}`,
    RESTATE_LOG_FILTER: "error",
    RESTATE_DISABLE_TELEMETRY: "true",
    DO_NOT_TRACK: "1",
  };
  const log = createWriteStream(join(folder, "server.log"));
  // What npm installs is a script that starts the server: the group is both.
  const env = { ...process.env, ...settings };
  const child = spawn(join(modules, ".bin", "restate-server"), [], { env, detached: true });
  child.stdout.pipe(log);
  child.stderr.pipe(log);
  return child;
}

async function until(attempt) {
  for (let tries = 0; tries < 600; tries++) {
    try {
      if (await attempt()) return;
    } catch {
      // not yet
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error("the server does not answer");
}

const post = (port, path, body) =>
  fetch(`http://${ADDRESS}:${port}${path}`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });

async function call(count) {
  const answer = await post(INGRESS, "/work/steps", count);
  if ((await answer.json()) !== count) throw new Error("another answer");
}

const child = server();
let code = 0;
try {
  await restate.serve({ services: [work], port: SERVICE });
  await until(async () => (await fetch(`http://${ADDRESS}:${ADMIN}/health`)).ok);
  await until(async () => (await post(ADMIN, "/deployments", { uri: `http://${ADDRESS}:${SERVICE}` })).ok);
  await call(STEPS);
  const begun = performance.now();
  if (what === "sequential") await call(Number(number));
  else await Promise.all(Array.from({ length: Number(number) }, () => call(STEPS)));
  process.stdout.write(JSON.stringify({ seconds: (performance.now() - begun) / 1000 }));
} catch (error) {
  process.stderr.write(`${error}\n`);
  code = 1;
} finally {
  process.kill(-child.pid, "SIGKILL");
}
process.exit(code);
