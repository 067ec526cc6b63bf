// What is deployed: names, versions, graphs; and the form that starts a run.
import { useState } from "preact/hooks";
import { go, link } from "./address";
import { address, mayOperate, post, read, type Definition, type Version } from "./api";
import { newKey } from "./commands";
import { Fields, valueOf, type Draft } from "./form";
import { Confirm, Picture, Section, Time, useRead, useReturns, Wrong } from "./parts";

export function Workflows() {
  const [found, wrong] = useRead(address("workflows"), read<{ workflows: Version[] }>, useReturns());
  const names = Map.groupBy(found?.workflows ?? [], ({ name }) => name);
  return (
    <main>
      <div class="heading"><h1>Workflows</h1></div>
      <Wrong what={wrong} />
      {found && !names.size && <FirstSteps />}
      <ol class="runs">
        {[...names].map(([name, versions]) => {
          const newest = versions.reduce((a, b) => (a.version > b.version ? a : b));
          return (
            <li key={name}><a href={link(["workflows", name, newest.version])}>
              <span class="who"><b>{name}</b></span>
              <span class="what">{versions.length === 1 ? "1 version" : `${versions.length} versions`}, newest v{newest.version}</span>
              <span class="when quiet"><Time at={newest.deployed_at} /></span>
            </a></li>
          );
        })}
      </ol>
    </main>
  );
}

const FIRST = `flowctl init                  # writes an example into an empty folder
flowctl deploy order.yaml     # makes a workflow known
flowctl serve --workers 1     # with what executes its runs`;

/** For whoever has started the server and nothing else. It learns of new activities when it starts. */
export function FirstSteps() {
  return (
    <div class="first">
      <h2>No workflow is known here yet</h2>
      <p>Stop the server with Ctrl-C. Then, in the folder of your project:</p>
      <pre>{FIRST}</pre>
      <p>Open the address that it prints: the workflow has a button that starts a run.</p>
    </div>
  );
}

export function Workflow({ name, version }: { name: string; version: string }) {
  const path = `workflows/${encodeURIComponent(name)}`;
  const [all] = useRead(address(path), read<{ workflows: Version[] }>);
  const [found, wrong] = useRead(address(`${path}/versions/${version}`), read<Definition>);
  const [starting, setStarting] = useState(false);
  const graph = address(`${path}/versions/${version}/graph`, { format: "svg" });
  if (!found) return <main>{wrong && <><nav class="crumbs"><a href={link(["workflows"])}>Workflows</a></nav><h1>{name}</h1></>}<Wrong what={wrong} /></main>;
  return (
    <main>
      <nav class="crumbs"><a href={link(["workflows"])}>Workflows</a></nav>
      <div class="heading">
        <div><h1>{name} <span class="quiet">v{found.version}</span></h1><p class="quiet">{found.description}</p></div>
        {mayOperate() && <button class="main" onClick={() => setStarting(true)}>Start a run</button>}
      </div>
      {found.deprecated && <p class="failure">Deprecated: {found.deprecated}</p>}
      <div class="chips">
        {all?.workflows.map((each) => (
          <a key={each.version} class="button" aria-current={String(each.version) === version ? "page" : undefined}
            href={link(["workflows", name, each.version])}>v{each.version}</a>
        ))}
        <a class="button" href={link([], new URLSearchParams({ workflow: name }))}>Its runs</a>
      </div>
      <div class="split">
        <Section title="Graph" note={<a href={graph} target="_blank" rel="noreferrer">full size</a>}><Picture path={graph} of={name} /></Section>
        <Section title="Document"><pre class="data source" tabIndex={0}>{found.source}</pre></Section>
      </div>
      {starting && <Start of={found} close={() => setStarting(false)} />}
    </main>
  );
}

function Start({ of: { name, version, input_schema }, close }: { of: Definition; close: () => void }) {
  const [draft, change] = useState<Draft>({});
  const [key] = useState(newKey);
  const act = async () => {
    const input = input_schema?.properties ? valueOf(input_schema, draft) : {};
    const { id } = await post<{ id: string }>("runs", { workflow: `${name}@${version}`, input }, key);
    go(link(["runs", id]));
  };
  return (
    <Confirm title={`Start ${name} v${version}`} verb="Start" act={act} close={close}>
      {input_schema?.properties ? <Fields schema={input_schema} draft={draft} change={change} /> : <p>It takes no input.</p>}
    </Confirm>
  );
}
