// The dashboard: who is there, then the page that the address names.
import { render } from "preact";
import { useEffect, useState } from "preact/hooks";
import { link, usePlace, type Place } from "./address";
import { Problem, resumeSession, signIn, type Session } from "./api";
import { Compare } from "./compare";
import { said, Wrong } from "./parts";
import { RunPage } from "./run";
import { Runs } from "./runs";
import { Workflow, Workflows } from "./workflows";
import "./style.css";

const THEMES = ["auto", "light", "dark"];

/** The code of the printed address is taken out of it before anything else, so that it stays in no history. */
function takeCode(): string | null {
  const code = /^#code=(.+)$/.exec(location.hash)?.[1] ?? null;
  if (code) history.replaceState(null, "", "#/");
  return code;
}

function App({ code }: { code: string | null }) {
  const [session, setSession] = useState<Session | null>(null);
  const [wrong, setWrong] = useState<string | null>(null);
  const [asking, setAsking] = useState(true);
  useEffect(() => {
    const resumed = () => resumeSession().catch((error) => { throw error instanceof Problem && error.status === 401 ? null : error; });
    const trying = code ? signIn({ code }).catch((error) => resumed().catch(() => { throw error; })) : resumed();
    trying.then(setSession, (error) => setWrong(error && said(error))).finally(() => setAsking(false));
  }, []);
  if (asking) return null;
  return session ? <Shell session={session} /> : <SignIn wrong={wrong} signedIn={setSession} />;
}

function Shell({ session }: { session: Session }) {
  const place = usePlace();
  const [live, heard] = useState(true);
  const [theme, setTheme] = useState(localStorage.getItem("theme") ?? "auto");
  useEffect(() => {
    document.documentElement.dataset.theme = theme;
    localStorage.setItem("theme", theme);
  }, [theme]);
  const here = place.parts[0] ?? "runs";
  const item = (name: string, title: string, to: string) => <a href={to} aria-current={here === name ? "page" : undefined}>{title}</a>;
  return (
    <>
      <header class="bar">
        <a class="brand" href={link([])}>flowctl</a>
        <nav>{item("runs", "Runs", link([]))}{item("workflows", "Workflows", link(["workflows"]))}{item("compare", "Compare", link(["compare"]))}</nav>
        <span class={`live ${live ? "good" : "bad"}`} role="status"><i />{live ? "live" : "reconnecting"}</span>
        <span class="quiet user">{session.name}</span>
        <button class="theme" title="Light, dark, or as the system has it" onClick={() => setTheme(THEMES[(THEMES.indexOf(theme) + 1) % 3])}>{theme}</button>
      </header>
      <Page place={place} heard={heard} />
    </>
  );
}

function Page({ place, heard }: { place: Place; heard: (live: boolean) => void }) {
  const [page, name, version] = place.parts;
  if (page === "runs" && name) return <RunPage key={name} id={name} heard={heard} />;
  if (page === "workflows" && version) return <Workflow key={`${name}@${version}`} name={name} version={version} />;
  if (page === "workflows") return <Workflows />;
  if (page === "compare") return <Compare key={String(place.query)} place={place} />;
  return <Runs place={place} heard={heard} />;
}

function SignIn({ wrong, signedIn }: { wrong: string | null; signedIn: (session: Session) => void }) {
  const [token, setToken] = useState("");
  const [refused, setRefused] = useState(wrong);
  const submit = (event: Event) => {
    event.preventDefault();
    signIn({ token }).then(signedIn, (error) => setRefused(said(error)));
  };
  return (
    <main class="sign-in">
      <h1>flowctl</h1>
      <p>Open the address that <code>flowctl serve</code> printed, or give a token of the file beside the database.</p>
      <form onSubmit={submit}>
        <label><span>Token</span><input type="password" autocomplete="off" required value={token} onInput={(event) => setToken(event.currentTarget.value)} /></label>
        <Wrong what={refused} />
        <button class="main">Sign in</button>
      </form>
    </main>
  );
}

render(<App code={takeCode()} />, document.getElementById("app")!);
