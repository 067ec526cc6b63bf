// The page and its filters stand in the fragment, so that it works wherever the dashboard is mounted.
import { useEffect, useState } from "preact/hooks";

export interface Place { parts: string[]; query: URLSearchParams }

function here(): Place {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  return { parts: path.split("/").filter(Boolean).map(decoded), query: new URLSearchParams(query) };
}

/** A part of an address; one that somebody mistyped is taken as it is. */
function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

export function usePlace(): Place {
  const [place, set] = useState(here);
  useEffect(() => {
    const changed = () => set(here());
    addEventListener("hashchange", changed);
    changed(); // it may have been, before anybody listened
    return () => removeEventListener("hashchange", changed);
  }, []);
  return place;
}

/** A link to a page: parts of the path, then what is asked of it. */
export function link(parts: (string | number)[], query?: URLSearchParams): string {
  const path = parts.map((part) => encodeURIComponent(part)).join("/");
  return `#/${path}${query?.size ? `?${query}` : ""}`;
}

export function go(to: string, replace = false): void {
  if (replace) location.replace(to);
  else location.hash = to;
}
