// What several pages are made of.
import type { ComponentChildren } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { Problem, text, type Json } from "./api";

/** The same as in the terminal and in graphs (render/signs.py); what is not here is dim. */
const TONES: { [status: string]: string } = {
  running: "busy", waiting: "warn", retrying: "warn", paused: "warn", blocked: "bad", compensating: "warn",
  completed: "good", compensated: "undone", compensation_failed: "bad", failed: "bad", cancelled: "warn",
  terminated: "bad", continued: "good",
};
export const tone = (status: string) => TONES[status] ?? "dim";

export function State({ of: status }: { of: string }) {
  return <span class={`state ${tone(status)}`} data-status={status}><i />{status.replace("_", " ")}</span>;
}

export function Data({ of: value }: { of: Json }) {
  return <pre class="data">{typeof value === "string" ? value : JSON.stringify(value, null, 2)}</pre>;
}

export function duration(milliseconds: number): string {
  if (milliseconds < 1000) return `${Math.max(0, Math.round(milliseconds))} ms`;
  const seconds = milliseconds / 1000;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const units: [string, number][] = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  const first = units.findIndex(([, size]) => seconds >= size);
  const [[big, size], next] = [units[first], units[first + 1]];
  const rest = Math.floor((seconds % size) / next[1]);
  return `${Math.floor(seconds / size)} ${big}${rest ? ` ${rest} ${next[0]}` : ""}`;
}

export const between = (from: string, to: string | null) => (to ? Date.parse(to) : Date.now()) - Date.parse(from);

/** Draws again every second, for what says how long something has been going on. */
export function useClock(ticking: boolean): void {
  const [, tick] = useState(0);
  useEffect(() => {
    if (!ticking) return;
    const clock = setInterval(() => tick((n) => n + 1), 1000);
    return () => clearInterval(clock);
  }, [ticking]);
}

/** Grows whenever somebody comes back to the page: what no stream tells of may have changed meanwhile. */
export function useReturns(): number {
  const [returns, set] = useState(0);
  useEffect(() => {
    const returned = () => set((n) => n + 1);
    addEventListener("focus", returned);
    return () => removeEventListener("focus", returned);
  }, []);
  return returns;
}

// Made once: to make one takes longer than to draw what it formats.
const TODAY = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
const BEFORE = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const WHOLE = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });

export function Time({ at }: { at: string }) {
  const when = new Date(at);
  const today = when.toDateString() === new Date().toDateString();
  return <time dateTime={at} title={WHOLE.format(when)}>{(today ? TODAY : BEFORE).format(when)}</time>;
}

/** A picture of the API. As an image it can do nothing, whatever its texts are; it follows the theme. */
export function Picture({ path, of, again }: { path: string; of: string; again?: unknown }) {
  const [svg] = useRead(path, text, again);
  const source = useMemo(() => svg && `data:image/svg+xml,${encodeURIComponent(svg)}`, [svg]);
  return <div class="picture" tabIndex={0}>{source && <img src={source} alt={`Graph of ${of}`} />}</div>;
}

export function Section({ title, note, children }: { title: string; note?: ComponentChildren; children: ComponentChildren }) {
  return <section><header><h2>{title}</h2>{note && <span class="quiet">{note}</span>}</header>{children}</section>;
}

export function Wrong({ what }: { what: string | null }) {
  return what ? <p class="wrong" role="alert">{what}</p> : null;
}

export function Empty({ children }: { children: ComponentChildren }) {
  return <p class="empty">{children}</p>;
}

/** Asks before anything is changed; `act` does it, and what it throws is shown here. */
export function Confirm(props: {
  title: string; verb: string; grave?: boolean; act: () => Promise<unknown>; close: () => void; children: ComponentChildren;
}) {
  const dialog = useRef<HTMLDialogElement>(null);
  const [wrong, setWrong] = useState<string | null>(null);
  const [busy, setBusy] = useState(false);
  useEffect(() => dialog.current?.showModal(), []);
  const submit = async (event: Event) => {
    event.preventDefault();
    setBusy(true);
    try {
      await props.act();
      props.close();
    } catch (error) {
      setWrong(said(error));
      setBusy(false);
    }
  };
  return (
    <dialog ref={dialog} onClose={props.close}>
      <form onSubmit={submit}>
        <h2>{props.title}</h2>
        {props.children}
        <Wrong what={wrong} />
        <footer>
          <button type="button" onClick={props.close}>Not now</button>
          <button type="submit" class={props.grave ? "grave" : "main"} disabled={busy}>{props.verb}</button>
        </footer>
      </form>
    </dialog>
  );
}

export const said = (error: unknown) => (error instanceof Problem || error instanceof SyntaxError ? error.message : String(error));

/**
 * What is read from the API, read again when the path or `again` changes; the old stays until the new is there, and
 * beside what went wrong. One question at a time: what changes meanwhile is asked for when the answer has come, so nobody is asked faster than he
 * answers.
 */
export function useRead<T>(path: string, reading: (path: string) => Promise<T>, again?: unknown): [T | null, string | null] {
  const [found, set] = useState<[T | null, string | null]>([null, null]);
  const wanted = useRef<string | null>(null);
  const asking = useRef(false);
  useEffect(() => {
    wanted.current = path;
    if (!asking.current) ask();
  }, [path, again]);
  useEffect(() => () => { wanted.current = null; }, []);
  async function ask() {
    asking.current = true;
    while (wanted.current !== null) {
      const from = wanted.current;
      wanted.current = null;
      const [value, wrong] = await reading(from).then((value): [T, null] => [value, null], (error): [null, string] => [null, said(error)]);
      if (wanted.current !== null && wanted.current !== from) continue; // nobody asks for it any more
      set(([known]) => [wrong === null ? value : known, wrong]);
    }
    asking.current = false;
  }
  return found;
}
