// Two runs beside each other: where they differ, and how long each took.
import { useState } from "preact/hooks";
import { go, link, type Place } from "./address";
import { address, read, type Difference, type Json } from "./api";
import { duration, Empty, Section, State, useRead, Wrong } from "./parts";

export function Compare({ place }: { place: Place }) {
  const [left, right] = [place.query.get("left") ?? "", place.query.get("right") ?? ""];
  const [draft, setDraft] = useState({ left, right });
  const submit = (event: Event) => {
    event.preventDefault();
    go(link(["compare"], new URLSearchParams(draft)));
  };
  const field = (side: "left" | "right", label: string) => (
    <input class="mono" aria-label={label} placeholder={label} required value={draft[side]}
      onInput={(event) => setDraft({ ...draft, [side]: event.currentTarget.value })} />
  );
  return (
    <main>
      <div class="heading"><h1>Compare</h1></div>
      <form class="filters" onSubmit={submit}>{field("left", "One run")}{field("right", "Another run, or @last")}<button class="main">Compare</button></form>
      {left && right && <Differences left={left} right={right} />}
    </main>
  );
}

function Differences({ left, right }: { left: string; right: string }) {
  const [found, wrong] = useRead(address("diff", { left, right }), read<Difference>);
  if (!found) return <Wrong what={wrong} />;
  return (
    <>
      <div class="pair">{found.runs.map((run) => (
        <a key={run.id} href={link(["runs", run.id])}><State of={run.status} /><b>{run.workflow} v{run.version}</b><span class="mono quiet">{run.id}</span></a>
      ))}</div>
      <Section title="Differences">
        {!found.differences.length && <Empty>They differ in nothing but time.</Empty>}
        {found.differences.map(({ path, what, where, values }, at) => (
          <div key={at} class="difference"><p><b class="mono">{path || "run"}</b> <span class="quiet">{what}{where && ` ${where}`}</span></p>
            <div class="pair">{values.map((value, side) => <pre key={side} class="data">{shown(value)}</pre>)}</div></div>
        ))}
      </Section>
      <Section title="Times">
        <table><tbody>{found.times.map(({ path, milliseconds }) => (
          <tr key={path}><th class="mono">{path || "run"}</th>{milliseconds.map((each, side) => <td key={side}>{each === null ? "not over" : duration(each)}</td>)}</tr>
        ))}</tbody></table>
      </Section>
    </>
  );
}

const shown = (value: Json) => (typeof value === "string" ? value : JSON.stringify(value, null, 2));
