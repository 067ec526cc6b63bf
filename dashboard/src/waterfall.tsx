// When each step, each of its attempts and what undid it was at work, beside each other.
import { useMemo, useState } from "preact/hooks";
import type { Entry, Run, Step } from "./api";
import { Data, duration, State, tone, useClock } from "./parts";

interface Span { from: number; to: number | null; attempt: number; tone: string }
interface Line { path: string; name: string; step: Step | null; spans: Span[] }

const OUTCOMES: { [kind: string]: string } = { completed: "good", failed: "bad", retrying: "bad", retry: "bad" };

/** Of each path, one span for each time it began. */
function spansOf(entries: Entry[]): Map<string, Span[]> {
  const found = new Map<string, Span[]>();
  for (const { path, kind, at, attempt } of entries) {
    if (!path) continue;
    const spans = found.get(path) ?? [];
    const last = spans.at(-1);
    if (last && last.to === null && kind !== "started") Object.assign(last, { to: Date.parse(at), tone: OUTCOMES[kind] ?? "dim" });
    if (kind === "started") spans.push({ from: Date.parse(at), to: null, attempt, tone: "busy" });
    found.set(path, spans);
  }
  return found;
}

function linesOf(run: Run, entries: Entry[]): Line[] {
  const spans = spansOf(entries);
  const steps = run.steps.filter((step) => step.started_at && step.status !== "skipped").map((step): Line => {
    const whole = { from: Date.parse(step.started_at!), to: step.completed_at ? Date.parse(step.completed_at) : null, attempt: step.attempt, tone: tone(step.status) };
    const tries = spans.get(step.path) ?? [];
    return { path: step.path, name: step.name ?? step.kind ?? "", step, spans: tries.length > 1 ? tries : [whole] };
  });
  const shown = new Set(run.steps.map(({ path }) => `${path}.undo`));
  const undone = [...spans].filter(([path, each]) => shown.has(path) && each.length)
    .map(([path, each]): Line => ({ path, name: "undo", step: null, spans: each.map((span) => ({ ...span, tone: span.tone === "good" ? "undone" : span.tone })) }));
  return [...steps, ...undone];
}

export function Waterfall({ run, entries }: { run: Run; entries: Entry[] }) {
  const [open, setOpen] = useState<string | null>(null);
  const lines = useMemo(() => linesOf(run, entries), [run, entries]);
  useClock(lines.some(({ spans }) => spans.some(({ to }) => to === null)));
  const starts = lines.flatMap(({ spans }) => spans.map(({ from }) => from));
  const ends = lines.flatMap(({ spans }) => spans.map(({ to }) => to ?? Date.now()));
  const first = Math.min(...starts);
  const length = Math.max(1, Math.max(...ends) - first);
  return (
    <div class="waterfall">
      {lines.map(({ path, name, step, spans }) => (
        <div key={path} class="line" data-path={path}>
          <button aria-expanded={open === path} onClick={() => setOpen(open === path ? null : path)}>
            <span class="label"><b>{path}</b><span class="quiet">{name}</span></span>
            <span class="track">
              {spans.map((span) => <Bar key={span.from} span={span} first={first} length={length} />)}
            </span>
            <span class="took quiet">{spans.length > 1 && `${spans.length} × `}{duration((spans.at(-1)!.to ?? Date.now()) - spans[0].from)}</span>
          </button>
          {open === path && step && <Details step={step} />}
        </div>
      ))}
    </div>
  );
}

function Bar({ span, first, length }: { span: Span; first: number; length: number }) {
  const left = Math.min(98.5, ((span.from - first) / length) * 100);
  const width = (((span.to ?? Date.now()) - span.from) / length) * 100;
  return <i class={`bar ${span.tone}`} title={`attempt ${span.attempt || 1}`} style={{ left: `${left}%`, width: `${Math.min(width, 100 - left)}%` }} />;
}

function Details({ step }: { step: Step }) {
  return (
    <div class="details">
      <p><State of={step.status} />{step.attempt > 1 && <span class="quiet"> attempt {step.attempt}</span>}
        {step.compensation && <> <State of={step.compensation.status} /></>}</p>
      {step.error && <p class="failure"><b>{step.error.type}</b> {step.error.message}</p>}
      {step.input !== null && <><h3>Input</h3><Data of={step.input} /></>}
      {step.output !== null && <><h3>Output</h3><Data of={step.output} /></>}
    </div>
  );
}
