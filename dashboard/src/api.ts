// What the server answers (docs/api.md), the session, and the streams.

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

export interface Failure { type: string; message: string }
export interface Waiting { path: string; kind: string; names: string[]; until: string | null }
export interface Step {
  path: string; kind: string | null; name: string | null; status: string; attempt: number;
  input: Json; output: Json; error: Failure | null; started_at: string | null; completed_at: string | null;
  compensation: { status: string; attempt: number; error: Failure | null; completed_at: string | null } | null;
}
export interface Summary {
  id: string; workflow: string; version: number; status: string; error: Failure | null; current_steps: string[];
  waiting_for: Waiting[]; attributes: { [key: string]: Json }; principal: string | null; parent_id: string | null;
  created_at: string; started_at: string | null; completed_at: string | null;
  blocked: Json; saga: { [key: string]: string[] };
}
export interface Run extends Summary { input: Json; output: Json; steps: Step[]; step_counts: { [status: string]: number } | null }
export interface Entry { seq: number; at: string; path: string; kind: string; attempt: number; [more: string]: Json }
export interface Schema {
  type?: string | string[]; title?: string; description?: string; default?: Json; enum?: Json[];
  properties?: { [name: string]: Schema }; required?: string[]; items?: Schema;
}
export interface Signal { name: string; description: string | null; payload_schema: Schema | null; awaited: boolean }
export interface Actions { id: string; status: string; live: boolean; commands: { [name: string]: string }; signals: Signal[] }
export interface Version { name: string; version: number; digest: string; deployed_at: string; deprecated: string | null }
export interface Definition extends Version { description: string | null; input_schema: Schema | null; signals: Signal[]; source: string }
export interface Difference {
  runs: { id: string; workflow: string; version: number; status: string }[];
  differences: { path: string; what: string; where: string; values: [Json, Json] }[];
  times: { path: string; milliseconds: [number | null, number | null] }[];
}
export interface Session { name: string; scope: string; csrf: string | null }

/** An answer that says no: `message` is for people, `status` is HTTP's. */
export class Problem extends Error {
  constructor(readonly status: number, message: string) { super(message); }
}

const SILENCE = 25_000; // milliseconds after which nobody is at the other end: the server says something every 15 s
const AGAIN = 2000; // milliseconds until a stream that the browser has given up is opened again

const ROOT = new URL("api/v1/", document.baseURI).pathname;
let session: Session | null = null;

/** The address of a path below the API; lists repeat their key. */
export function address(path: string, query: { [key: string]: string | number | string[] } = {}): string {
  const pairs = Object.entries(query).flatMap(([key, value]) => [value].flat().map((one) => [key, String(one)]));
  return ROOT + path + (pairs.length ? `?${new URLSearchParams(pairs)}` : "");
}

export const runPath = (id: string, more = "") => `runs/${encodeURIComponent(id)}${more}`;

async function answer(path: string, options: RequestInit = {}): Promise<Response> {
  const found = await fetch(path, options).catch(() => { throw new Problem(0, "The server does not answer."); });
  if (found.ok) return found;
  const problem = await found.json().catch(() => ({}));
  throw new Problem(found.status, problem.detail ?? problem.title ?? found.statusText);
}

export const read = async <T>(path: string): Promise<T> => (await answer(path)).json();
export const text = async (path: string): Promise<string> => (await answer(path)).text();

/** Ask for a change. `key` makes asking twice the same as asking once. */
export async function post<T>(path: string, body: unknown, key?: string): Promise<T> {
  const headers: Record<string, string> = { "content-type": "application/json" };
  if (session?.csrf) headers["x-csrf-token"] = session.csrf;
  if (key) headers["idempotency-key"] = key;
  return (await answer(address(path), { method: "POST", headers, body: JSON.stringify(body) })).json();
}

export async function signIn(secret: { code: string } | { token: string }): Promise<Session> {
  return (session = await post<Session>("session", secret));
}

export async function resumeSession(): Promise<Session> {
  return (session = await read<Session>(address("session")));
}

export const mayOperate = () => session !== null && session.scope !== "read";

type Query = Parameters<typeof address>[1];

/**
 * Follow the stream of something until the function that comes back is called. What breaks off is resumed after the last
 * event, also where the browser gives up: an answer that is an error may come of a server that is being restarted. So
 * then it is asked whether the thing is there; whoever is not known any more has to sign in again.
 */
export function follow(thing: string, stream: string, query: Query, on: { [event: string]: (data: any) => void }, heard: (live: boolean) => void): () => void {
  let source: EventSource;
  let waiting: number | undefined;
  let silence: number | undefined;
  let last: string | null = null;
  const listen = () => {
    clearTimeout(silence);
    silence = window.setTimeout(() => { heard(false); source.close(); open(); }, SILENCE);
  };
  const open = () => {
    listen();
    source = new EventSource(address(stream, { ...query, ...(last && { after: last }) }));
    source.onopen = () => heard(true);
    source.onerror = () => {
      heard(false);
      if (source.readyState === EventSource.CLOSED) later();
    };
    source.addEventListener("ping", listen);
    for (const [name, act] of Object.entries<(data: any) => void>({ ready: () => {}, ...on })) {
      source.addEventListener(name, (event) => {
        const { data, lastEventId } = event as MessageEvent;
        listen();
        last = lastEventId;
        act(JSON.parse(data));
      });
    }
  };
  const later = () => { clearTimeout(silence); waiting = window.setTimeout(again, AGAIN); };
  const again = () => read(address(thing)).then(open, ({ status }) => {
    if (status === 401) location.reload();
    else if (status === 404) heard(true); // there is nothing to follow
    else later();
  });
  open();
  return () => { source.close(); clearTimeout(waiting); clearTimeout(silence); };
}
