// One run: what it is and does, live. The stream says that something happened; what there is now is then read.
import { useEffect, useState } from "preact/hooks";
import { link } from "./address";
import { address, follow, read, runPath, type Actions, type Entry, type Run } from "./api";
import { Commands } from "./commands";
import { between, Data, duration, Empty, Picture, Section, State, Time, useClock, useRead, Wrong } from "./parts";
import { Waterfall } from "./waterfall";

const KEPT = 1000;
const SHOWN = 300;
const TOGETHER = 100; // milliseconds

/**
 * The last lines of the history, and a number that grows whenever the run stands otherwise. Thousands of events may come
 * at once, so what came is shown together, a few times a second.
 */
function useHistory(id: string, heard: (live: boolean) => void): [Entry[], number] {
  const [entries, setEntries] = useState<Entry[]>([]);
  const [changes, setChanges] = useState(0);
  useEffect(() => {
    let due: number | undefined;
    let news: Entry[] = [];
    let stands = false;
    const show = () => {
      const [lines, changed] = [news, stands];
      [due, news, stands] = [undefined, [], false];
      if (lines.length) setEntries((known) => [...known, ...lines].slice(-KEPT));
      if (changed) setChanges((n) => n + 1);
    };
    const soon = () => { due ??= window.setTimeout(show, TOGETHER); };
    const stop = follow(address(runPath(id, "/events")), {
      history: (lines: Entry[]) => { news.push(...lines); soon(); },
      run: () => { stands = true; soon(); },
    }, heard);
    return () => { stop(); clearTimeout(due); };
  }, [id]);
  return [entries, changes];
}

export function RunPage({ id, heard }: { id: string; heard: (live: boolean) => void }) {
  const [entries, round] = useHistory(id, heard);
  const [run, wrong] = useRead(address(runPath(id)), read<Run>, round);
  const [actions] = useRead(address(runPath(id, "/actions")), read<Actions>, round);
  useClock(run !== null && !run.completed_at);
  if (!run) return <main><Wrong what={wrong} /></main>;
  const done = Object.values(run.step_counts ?? {}).reduce((sum, count) => sum + count, 0);
  return (
    <main>
      <nav class="crumbs"><a href={link([])}>Runs</a></nav>
      <div class="heading">
        <div><h1>{run.workflow} <span class="quiet">v{run.version}</span></h1><p class="mono quiet">{run.id}</p></div>
        <State of={run.status} />
      </div>
      {actions && <Commands run={run} actions={actions} />}
      <Facts run={run} live={actions?.live ?? true} />
      {run.error && <div class="failure" role="status"><b>{run.error.type}</b> {run.error.message}</div>}
      <div class="split">
        <Section title="Graph"><Picture path={address(runPath(run.id, "/graph"), { format: "svg" })} of={run.id} again={round} /></Section>
        <div>
          <Section title="Timeline" note={done > run.steps.length ? `the last ${run.steps.length} of ${done} steps` : undefined}>
            {run.steps.length ? <Waterfall run={run} entries={entries} /> : <Empty>No step has begun.</Empty>}
          </Section>
          <Section title="Input"><Data of={run.input} /></Section>
          {run.output !== null && <Section title="Output"><Data of={run.output} /></Section>}
        </div>
      </div>
      <Section title="History" note={entries.length > SHOWN ? `the last ${SHOWN} lines` : "newest first"}><History entries={entries} /></Section>
    </main>
  );
}

function Facts({ run, live }: { run: Run; live: boolean }) {
  const open = !run.completed_at;
  return (
    <dl class="facts">
      <div><dt>Started</dt><dd>{run.started_at ? <Time at={run.started_at} /> : "not yet"}</dd></div>
      {run.started_at && <div><dt>{open ? "Running for" : "Took"}</dt><dd>{duration(between(run.started_at, run.completed_at))}</dd></div>}
      {run.current_steps.length > 0 && <div><dt>Now at</dt><dd class="mono">{run.current_steps.join(", ")}</dd></div>}
      {run.waiting_for.map((each) => (
        <div key={each.path}><dt>Waits for</dt><dd>{each.names.length ? each.names.join(" or ") : each.kind}{each.until && <span class="quiet"> until <Time at={each.until} /></span>}</dd></div>
      ))}
      {run.saga.undone?.length > 0 && <div><dt>Undone</dt><dd class="mono">{run.saga.undone.join(", ")}</dd></div>}
      {run.principal && <div><dt>Started by</dt><dd>{run.principal}</dd></div>}
      {run.parent_id && <div><dt>Part of</dt><dd><a href={link(["runs", run.parent_id])}>{run.parent_id}</a></dd></div>}
      {Object.entries(run.attributes).map(([key, value]) => <div key={key}><dt>{key}</dt><dd>{String(value)}</dd></div>)}
      {open && !live && <div><dt>Worker</dt><dd class="bad">none has it: run flowctl worker</dd></div>}
    </dl>
  );
}

function History({ entries }: { entries: Entry[] }) {
  return (
    <ol class="history">
      {entries.toReversed().slice(0, SHOWN).map(({ seq, at, path, kind, attempt, ...more }, index) => (
        <li key={entries.length - index}>
          <details>
            <summary>
              <span class="quiet">{seq}</span><Time at={at} /><span class="mono">{path || "run"}</span>
              <span class={`kind ${kind}`}>{kind.replaceAll("_", " ")}{attempt > 1 && ` · attempt ${attempt}`}</span>
            </summary>
            <Data of={more} />
          </details>
        </li>
      ))}
    </ol>
  );
}
