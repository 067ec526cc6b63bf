// One run: what it is and does, live. The stream says that something happened; what there is now is then read.
import { useState } from "preact/hooks";
import { link } from "./address";
import { address, read, runPath, type Actions, type Run } from "./api";
import { Commands } from "./commands";
import { count, History, useHistory } from "./history";
import { between, Data, duration, Empty, Picture, Section, State, Time, useClock, useRead, useReturns, Wrong } from "./parts";
import { Waterfall } from "./waterfall";

const PAGE = 200; // steps of the timeline

export function RunPage({ id, heard }: { id: string; heard: (live: boolean) => void }) {
  const history = useHistory(id, heard);
  const [first, setFirst] = useState<number | null>(null); // of the timeline; null: it goes with the run
  const [run, wrong] = useRead(address(runPath(id), { count: PAGE, ...(first && { first }) }), read<Run>, history.changes);
  const [actions] = useRead(address(runPath(id, "/actions")), read<Actions>, `${history.changes} ${useReturns()}`);
  if (!run) return <main>{wrong && <><nav class="crumbs"><a href={link([])}>Runs</a></nav><h1>{id}</h1></>}<Wrong what={wrong} /></main>;
  const graph = address(runPath(run.id, "/graph"), { format: "svg" });
  const steps = Object.values(run.step_counts ?? {}).reduce((sum, each) => sum + each, 0);
  return (
    <main>
      <nav class="crumbs"><a href={link([])}>Runs</a></nav>
      <div class="heading">
        <div><h1>{run.workflow} <span class="quiet">v{run.version}</span></h1><p class="mono quiet">{run.id}</p></div>
        <State of={run.status} />
      </div>
      {actions && <Commands run={run} actions={actions} />}
      {actions && !actions.live && !run.completed_at && (
        <p class="notice">Nobody executes this run. <code>flowctl worker</code> in the folder of the project does, or <code>flowctl serve --workers 1</code>.</p>
      )}
      <Facts run={run} />
      <Wrong what={wrong} />
      {run.error && <div class="failure" role="status"><b>{run.error.type}</b> {run.error.message}</div>}
      <div class="split">
        <Section title="Graph" note={<a href={graph} target="_blank" rel="noreferrer">full size</a>}><Picture path={graph} of={run.id} again={history.changes} /></Section>
        <div>
          <Section title="Timeline" note={steps > PAGE && <Pages first={first} steps={steps} show={setFirst} />}>
            {run.steps.length ? <Waterfall run={run} entries={history.entries} /> : <Empty>No step has begun.</Empty>}
          </Section>
          <Section title="Input"><Data of={run.input} /></Section>
          {run.output !== null && <Section title="Output"><Data of={run.output} /></Section>}
        </div>
      </div>
      <History {...history} />
    </main>
  );
}

/** Which steps of many are shown, and those before and after them. */
function Pages({ first, steps, show }: { first: number | null; steps: number; show: (first: number | null) => void }) {
  const from = first ?? steps - PAGE + 1;
  const after = from + PAGE;
  return (
    <span class="pages">
      <button aria-label="Earlier steps" disabled={from <= 1} onClick={() => show(Math.max(1, from - PAGE))}>‹</button>
      {count(from)} – {count(Math.min(after - 1, steps))} of {count(steps)} steps
      <button aria-label="Later steps" disabled={first === null} onClick={() => show(after + PAGE > steps ? null : after)}>›</button>
    </span>
  );
}

function Facts({ run }: { run: Run }) {
  const open = !run.completed_at;
  useClock(open);
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
    </dl>
  );
}
