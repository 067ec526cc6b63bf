// The list of runs. Filters stand in the address; `key=value` asks the server, other words search what is shown.
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { go, link, type Place } from "./address";
import { address, follow, mayOperate, read, type Summary, type Version } from "./api";
import { between, duration, Empty, said, State, Time, useRead, useReturns, Wrong } from "./parts";
import { FirstSteps } from "./workflows";

const STATUSES = ["running", "waiting", "paused", "blocked", "compensating", "completed", "compensated", "failed",
  "compensation_failed", "cancelled", "terminated"];

const CREATED = "created";

/** What has continued as new goes on as the next of its chain, which is in the list: it is there for whoever asks for it. */
const shownOf = (status: string[]) => (status.length ? status : [CREATED, ...STATUSES]);

interface Filters { status: string[]; workflow: string; words: string }
interface Page { runs: Summary[]; next: string | null; place: string }
interface Known { runs: Summary[]; next: string | null; oldest: string; most: number } // `oldest` that was read; `most` that are kept

const KEPT = 1000; // runs that the list may grow by; then it is read again
const TOGETHER = 100; // milliseconds of changes that are shown together

const filtersOf = (query: URLSearchParams): Filters =>
  ({ status: query.getAll("status"), workflow: query.get("workflow") ?? "", words: query.get("q") ?? "" });

function queryOf({ status, workflow, words }: Filters): URLSearchParams {
  return new URLSearchParams([...status.map((one) => ["status", one]), ...(workflow ? [["workflow", workflow]] : []), ...(words ? [["q", words]] : [])]);
}

const termsOf = (words: string) => words.split(/\s+/).filter(Boolean);
const wheresOf = (words: string) => termsOf(words).filter((term) => /^[^=]+=.+/.test(term));

function asked({ status, workflow, words }: Filters, cursor?: string) {
  return address("runs", { counts: "false", status: shownOf(status), where: wheresOf(words), ...(workflow && { workflow }), ...(cursor && { cursor }) });
}

function fits(run: Summary, { status, workflow, words }: Filters): boolean {
  const wheres = wheresOf(words).map((term) => [term.slice(0, term.indexOf("=")), term.slice(term.indexOf("=") + 1)]);
  return shownOf(status).includes(run.status) && (!workflow || run.workflow === workflow)
    && wheres.every(([key, value]) => String(run.attributes[key]) === value);
}

function says(run: Summary, words: string): boolean {
  const plain = termsOf(words).filter((term) => !term.includes("=")).map((term) => term.toLowerCase());
  if (!plain.length) return true;
  const all = `${run.id} ${run.workflow} ${JSON.stringify(run.attributes)} ${run.error?.message ?? ""}`.toLowerCase();
  return plain.every((term) => all.includes(term));
}

/** The list after these changes. */
function changed(known: Known, news: Map<string, Summary>, filters: Filters): Known {
  const left = known.runs.flatMap((run) => {
    const now = news.get(run.id);
    return !now ? [run] : fits(now, filters) ? [now] : [];
  });
  const shown = new Set(known.runs.map(({ id }) => id));
  const fresh = [...news.values()].filter((run) => !shown.has(run.id) && fits(run, filters) && (!known.next || run.created_at > known.oldest));
  return { ...known, runs: fresh.length ? [...fresh, ...left].toSorted(byAge) : left };
}

const byAge = (a: Summary, b: Summary) => (a.created_at < b.created_at ? 1 : a.created_at > b.created_at ? -1 : 0);

/** The list, or nothing yet, and one more page. */
function joined(known: Known | null, { runs, next }: Page): Known {
  const shown = new Set(known?.runs.map(({ id }) => id));
  const all = [...(known?.runs ?? []), ...runs.filter(({ id }) => !shown.has(id))];
  return { runs: all, next, oldest: runs.at(-1)?.created_at ?? "", most: all.length + KEPT };
}

/** The runs that fit, kept true by the stream: read, then followed from where the reading stood. */
function useRuns(filters: Filters, heard: (live: boolean) => void) {
  const [known, setKnown] = useState<Known | null>(null);
  const [wrong, setWrong] = useState<string | null>(null);
  const [round, setRound] = useState(0);
  const now = useRef<Known | null>(null); // what is known, before it is drawn
  const put = (known: Known) => { now.current = known; setKnown(known); };
  const question = asked(filters);
  useEffect(() => {
    let stop = () => {};
    let current = true;
    let due: number | undefined;
    let news = new Map<string, Summary>();
    const again = () => setRound((n) => n + 1);
    const show = () => {
      const known = changed(now.current!, news, filters);
      [due, news] = [undefined, new Map()];
      if (known.runs.length > known.most) again();
      else put(known);
    };
    const told = (run: Summary) => { news.set(run.id, run); due ??= window.setTimeout(show, TOGETHER); };
    read<Page>(question).then((found) => {
      if (!current) return;
      put(joined(null, found));
      setWrong(null);
      stop = follow("session", "events", { after: found.place }, { run: told, reset: again }, heard);
    }, (error) => current && setWrong(said(error)));
    return () => { current = false; stop(); clearTimeout(due); };
  }, [question, round]);
  const more = async () => {
    try {
      const page = await read<Page>(asked(filters, known!.next!));
      put(joined(now.current, page));
    } catch (error) {
      setWrong(said(error));
    }
  };
  return { known, wrong, more };
}

export function Runs({ place, heard }: { place: Place; heard: (live: boolean) => void }) {
  const filters = filtersOf(place.query);
  const { known, wrong, more } = useRuns(filters, heard);
  const [catalog, noCatalog] = useRead(address("workflows"), read<{ workflows: Version[] }>, useReturns());
  const shown = useMemo(() => known?.runs.filter((run) => says(run, filters.words)) ?? [], [known, filters.words]);
  const search = useRef<HTMLInputElement>(null);
  const chosen = useKeys(shown, search);
  useEffect(() => { // whoever types is ahead of the address
    if (search.current && search.current !== document.activeElement) search.current.value = filters.words;
  }, [filters.words]);
  const set = (changed: Partial<Filters>) => go(link([], queryOf({ ...filters, ...changed })), true);
  const names = [...new Set(catalog?.workflows.map(({ name }) => name))];
  const toggle = (status: string) =>
    set({ status: filters.status.includes(status) ? filters.status.filter((one) => one !== status) : [...filters.status, status] });
  return (
    <main>
      <div class="heading"><h1>Runs</h1>{mayOperate() && <a class="button main" href={link(["workflows"])}>Start a run</a>}</div>
      <div class="filters">
        <input ref={search} type="search" aria-label="Search" placeholder="Search, or customer=c-1"
          onInput={(event) => set({ words: event.currentTarget.value })} />
        <select aria-label="Workflow" value={filters.workflow} onChange={(event) => set({ workflow: event.currentTarget.value })}>
          <option value="">All workflows</option>
          {names.map((name) => <option key={name}>{name}</option>)}
        </select>
      </div>
      <div class="chips" role="group" aria-label="Status">
        {STATUSES.map((status) => (
          <button key={status} aria-pressed={filters.status.includes(status)} onClick={() => toggle(status)}><State of={status} /></button>
        ))}
      </div>
      <Wrong what={wrong} />
      {known && (catalog || noCatalog) && !shown.length && <Nothing filtered={queryOf(filters).size > 0} deployed={!catalog || names.length > 0} />}
      {shown.length > 0 && <ol class="runs">{shown.map((run, at) => <Row key={run.id} run={run} chosen={at === chosen} />)}</ol>}
      {known?.next && <button class="more" onClick={more}>Show older runs</button>}
      <p class="keys quiet"><kbd>j</kbd> <kbd>k</kbd> move <kbd>enter</kbd> open <kbd>/</kbd> search</p>
    </main>
  );
}

function Nothing({ filtered, deployed }: { filtered: boolean; deployed: boolean }) {
  if (filtered) return <Empty>No run fits these filters. <a href={link([])}>Show all runs</a></Empty>;
  if (!deployed) return <FirstSteps />;
  return <Empty>No runs yet. {mayOperate() && <a href={link(["workflows"])}>Start one of a workflow</a>}</Empty>;
}

function Row({ run, chosen }: { run: Summary; chosen: boolean }) {
  const row = useRef<HTMLLIElement>(null);
  useEffect(() => { if (chosen) row.current?.scrollIntoView({ block: "nearest" }); }, [chosen]);
  return useMemo(() => (
    <li ref={row} class={chosen ? "chosen" : ""}>
      <a href={link(["runs", run.id])}>
        <State of={run.status} />
        <span class="who"><b>{run.workflow}</b><span class="mono quiet">{run.id}</span></span>
        <span class="what">{nowAt(run)}</span>
        <span class="attributes">{Object.entries(run.attributes).map(([key, value]) => <span key={key} class="tag">{key} <b>{String(value)}</b></span>)}</span>
        <span class="when quiet"><Time at={run.created_at} />{run.completed_at && <span>{duration(between(run.started_at ?? run.created_at, run.completed_at))}</span>}</span>
      </a>
    </li>
  ), [run, chosen]);
}

function nowAt(run: Summary): string {
  if (run.error) return run.error.message;
  const [waiting] = run.waiting_for;
  if (waiting?.names.length) return `waits for ${waiting.names.join(" or ")}`;
  if (waiting) return `waits for a ${waiting.kind}`;
  return run.current_steps.length ? `at ${run.current_steps.join(", ")}` : "";
}

/** Which run the keyboard is at; -1 for none. Keys may follow each other faster than the page is drawn: what they
 * have done so far is in `now`, which does not wait for that. */
function useKeys(runs: Summary[], search: { current: HTMLInputElement | null }): number {
  const [id, setId] = useState<string | null>(null);
  const now = useRef({ runs, id });
  now.current = { runs, id };
  useEffect(() => {
    const pressed = (event: KeyboardEvent) => {
      const typing = event.target instanceof HTMLElement && event.target.matches("input, select, textarea");
      if (typing && event.key === "Escape") (event.target as HTMLElement).blur();
      if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
      const { runs, id } = now.current;
      const at = runs.findIndex((run) => run.id === id);
      const move = { j: 1, k: -1 }[event.key];
      if (move) {
        const next = runs[Math.max(0, Math.min(runs.length - 1, at + move))]?.id ?? null;
        now.current = { runs, id: next };
        setId(next);
      } else if (event.key === "Enter" && at >= 0 && !(event.target as HTMLElement).matches("a, button")) go(link(["runs", runs[at].id]));
      else if (event.key === "/") { event.preventDefault(); search.current?.focus(); }
    };
    addEventListener("keydown", pressed);
    return () => removeEventListener("keydown", pressed);
  }, []);
  return runs.findIndex((run) => run.id === id);
}
