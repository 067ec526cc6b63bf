// The history of a run: the last lines and what comes, live; what was before them is fetched when somebody wants it.
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { address, follow, read, runPath, type Entry, type Json } from "./api";
import { Data, said, Section, Time, Wrong } from "./parts";

const LAST = 1000; // lines that come by themselves
const SHOWN = 200; // lines that are shown at first
const MORE = 500; // lines that are shown, and fetched, at once
const TOGETHER = 100; // milliseconds

export interface Known {
  entries: Entry[];
  changes: number; // grows whenever the run stands otherwise
  earlier: () => Promise<void>;
}

/** Thousands of events may come at once, so what came is shown together, a few times a second. */
export function useHistory(id: string, heard: (live: boolean) => void): Known {
  const [entries, setEntries] = useState<Entry[]>([]);
  const [changes, setChanges] = useState(0);
  const kept = useRef(2 * LAST);
  useEffect(() => {
    let due: number | undefined;
    let latest = -1; // when a stream is opened anew, or read on, an entry may come twice
    let [news, anew, stands] = [[] as Entry[], false, false];
    const show = () => {
      const [lines, begins, changed] = [news, anew, stands];
      [due, news, anew, stands] = [undefined, [], false, false];
      if (begins || lines.length) setEntries((known) => [...(begins ? [] : known), ...lines].slice(-kept.current));
      if (changed) setChanges((n) => n + 1);
    };
    const soon = () => { due ??= window.setTimeout(show, TOGETHER); };
    const stop = follow(runPath(id), runPath(id, "/events"), { last: LAST }, {
      history: (lines: Entry[]) => {
        news.push(...lines.filter(({ seq }) => seq > latest));
        latest = Math.max(latest, ...lines.map(({ seq }) => seq));
        soon();
      },
      run: () => { stands = true; soon(); },
      reset: () => { [news, anew, latest] = [[], true, -1]; soon(); }, // more was missed than is sent
    }, heard);
    return () => { stop(); clearTimeout(due); };
  }, [id]);
  const earlier = async () => {
    const page = await read<{ entries: Entry[] }>(address(runPath(id, "/history"), { before: entries[0].seq, limit: MORE }));
    kept.current += page.entries.length;
    const last = page.entries.at(-1)?.seq ?? -1;
    setEntries((known) => [...page.entries, ...known.filter(({ seq }) => seq > last)]);
  };
  return { entries, changes, earlier };
}

export function History({ entries, earlier }: Known) {
  const [shown, setShown] = useState(SHOWN);
  const [wrong, setWrong] = useState<string | null>(null);
  const [busy, setBusy] = useState(false);
  const isAll = !entries.length || entries[0].seq === 0;
  const more = async () => {
    setBusy(true);
    try {
      if (!isAll && entries.length < shown + MORE) await earlier();
      setShown(shown + MORE);
      setWrong(null);
    } catch (error) {
      setWrong(said(error));
    }
    setBusy(false);
  };
  return (
    <Section title="History" note={isAll ? `${count(entries.length)} lines, newest first` : "newest first"}>
      <ol class="history">{entries.slice(-shown).toReversed().map((entry) => <Line key={keyOf(entry)} entry={entry} />)}</ol>
      <Wrong what={wrong} />
      {(entries.length > shown || !isAll) && <button class="more" disabled={busy} onClick={more}>Show earlier lines</button>}
    </Section>
  );
}

/** What a line says, in a few words. */
function gist({ error, output, input, payload, reason, status, value }: { [key: string]: Json }): string {
  if (error && typeof error === "object" && !Array.isArray(error)) return `${error.type}: ${error.message}`;
  const said = [output, payload, input, reason, status, value].find((each) => each !== undefined && each !== null);
  return said === undefined ? "" : typeof said === "string" ? said : JSON.stringify(said).slice(0, 200);
}

const keyOf = ({ seq, path, kind, attempt }: Entry) => `${seq} ${path} ${kind} ${attempt}`;
export const count = (number: number) => number.toLocaleString();

function Line({ entry }: { entry: Entry }) {
  const { seq, at, path, kind, attempt, ...more } = entry;
  const [open, setOpen] = useState(false);
  return useMemo(() => ( // an entry never changes
    <li>
      <details onToggle={(event) => setOpen(event.currentTarget.open)}>
        <summary>
          <span class="quiet">{seq}</span><Time at={at} /><span class="mono">{path || "run"}</span>
          <span class={`kind ${kind}`}>{kind.replaceAll("_", " ")}{attempt > 1 && ` · attempt ${attempt}`}</span>
          <span class="gist quiet">{gist(more)}</span>
        </summary>
        {open && <Data of={more} />}
      </details>
    </li>
  ), [entry, open]);
}
