// What can be done with a run as it stands: the server says which; each is confirmed first.
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { go, link } from "./address";
import { mayOperate, post, runPath, type Actions, type Run, type Signal } from "./api";
import { Fields, valueOf, type Draft } from "./form";
import { Confirm } from "./parts";

interface Command { verb: string; title: string; says: string; grave?: boolean }

const SIMPLE: { [name: string]: Command } = {
  pause: { verb: "Pause", title: "Pause this run?", says: "What is at work is finished; nothing new begins until it is unpaused." },
  unpause: { verb: "Unpause", title: "Let this run go on?", says: "It goes on where it was paused." },
  retry: { verb: "Retry", title: "Retry this run?", says: "It goes on from what failed; what was done stays done." },
  terminate: { verb: "Terminate", title: "Terminate this run?", says: "It ends at once, and nothing is undone. To undo what it did, cancel it instead.", grave: true },
};

export function Commands({ run, actions }: { run: Run; actions: Actions }) {
  const [asked, ask] = useState<string | null>(null);
  if (!mayOperate()) return null;
  const can = (name: string) => actions.commands[name] === "do";
  const close = () => ask(null);
  const signals = can("signal") ? actions.signals.toSorted((a, b) => Number(b.awaited) - Number(a.awaited)) : [];
  const signal = signals.find(({ name }) => asked === `signal ${name}`);
  return (
    <div class="commands">
      {signals.map(({ name, awaited }) => (
        <button key={name} class={awaited ? "main" : ""} onClick={() => ask(`signal ${name}`)}>Send {name}</button>
      ))}
      {can("pause") && <button onClick={() => ask("pause")}>Pause</button>}
      {can("unpause") && <button class="main" onClick={() => ask("unpause")}>Unpause</button>}
      {can("retry") && <button class="main" onClick={() => ask("retry")}>Retry</button>}
      {can("replay") && <button onClick={() => ask("replay")}>Replay</button>}
      {can("cancel") && <button onClick={() => ask("cancel")}>Cancel</button>}
      {can("terminate") && <button class="apart" onClick={() => ask("terminate")}>Terminate</button>}
      <a class="button apart" href={link(["compare"], new URLSearchParams({ left: run.id }))}>Compare</a>
      {signal && <Send run={run} signal={signal} close={close} />}
      {asked === "cancel" && <Cancel run={run} close={close} />}
      {asked === "replay" && <Replay run={run} close={close} />}
      {asked && asked in SIMPLE && (
        <Confirm {...SIMPLE[asked]} close={close} act={() => post(runPath(run.id, `/${asked}`), {})}><p>{SIMPLE[asked].says}</p></Confirm>
      )}
    </div>
  );
}

function Send({ run, signal, close }: { run: Run; signal: Signal; close: () => void }) {
  const [draft, change] = useState<Draft>({});
  const [key] = useState(newKey);
  const schema = signal.payload_schema;
  const act = () => post(runPath(run.id, `/signals/${encodeURIComponent(signal.name)}`), { payload: schema ? valueOf(schema, draft) : null }, key);
  return (
    <Confirm title={`Send ${signal.name}`} verb="Send" act={act} close={close}>
      {signal.description && <p>{signal.description}</p>}
      {!signal.awaited && <p class="quiet">The run does not wait for it now; it is kept until it does.</p>}
      {schema && <Fields schema={schema} draft={draft} change={change} />}
    </Confirm>
  );
}

function Cancel({ run, close }: { run: Run; close: () => void }) {
  const [reason, setReason] = useState("");
  return (
    <Confirm title="Cancel this run?" verb="Cancel the run" grave close={close}
      act={() => post(runPath(run.id, "/cancel"), reason ? { reason } : {})}>
      <p>It stops, and what it did is undone, the last first.</p>
      <Labelled label="Reason"><input name="reason" value={reason} onInput={(event) => setReason(event.currentTarget.value)} /></Labelled>
    </Confirm>
  );
}

function Replay({ run, close }: { run: Run; close: () => void }) {
  const [from, setFrom] = useState(run.steps[0]?.path ?? "");
  const act = async () => {
    const { id } = await post<{ id: string }>(runPath(run.id, "/replay"), { from });
    go(link(["runs", id]));
  };
  return (
    <Confirm title="Replay from a step" verb="Replay" act={act} close={close}>
      <p>A new run takes over what came before the step, and repeats it and all after it. This run stays as it is.</p>
      <Labelled label="From">
        <select value={from} onChange={(event) => setFrom(event.currentTarget.value)}>{run.steps.map(({ path }) => <option key={path}>{path}</option>)}</select>
      </Labelled>
    </Confirm>
  );
}

const Labelled = ({ label, children }: { label: string; children: ComponentChildren }) => <label><span>{label}</span>{children}</label>;

/** A key for a change that must happen once, however often it is sent. */
export const newKey = () => Array.from(crypto.getRandomValues(new Uint32Array(4)), (part) => part.toString(36)).join("");
