// Fields for a JSON schema: one for each property, what is required first; texts of a list are lines, and what has no
// field of its own is JSON. The server judges.
import type { Json, Schema } from "./api";

export type Draft = { [name: string]: string };

const WHOLE = "";
const isText = (schema: Schema) => schema.type === "string";
const isLines = (schema: Schema) => schema.type === "array" && schema.items?.type === "string" && !schema.items.enum;

function fieldsOf({ properties, required = [], ...rest }: Schema): [string, Schema][] {
  if (!properties) return [[WHOLE, rest]];
  const rank = (name: string) => (required.includes(name) ? required.indexOf(name) : required.length);
  return Object.entries(properties).toSorted(([one], [other]) => rank(one) - rank(other));
}

/** What was typed, as the data it stands for; what was left empty is left out. */
export function valueOf(schema: Schema, draft: Draft): Json {
  const typed = fieldsOf(schema).filter(([name]) => (draft[name] ?? "") !== "");
  const values = typed.map(([name, field]): [string, Json] => [name, parsed(name, field, draft[name])]);
  return schema.properties ? Object.fromEntries(values) : values[0]?.[1] ?? null;
}

function parsed(name: string, schema: Schema, typed: string): Json {
  if (schema.enum) return schema.enum[Number(typed)];
  if (isText(schema)) return typed;
  if (isLines(schema)) return listed(typed) ?? typed.split("\n").filter(Boolean);
  try {
    return JSON.parse(typed);
  } catch {
    throw new SyntaxError(`${name || "The payload"} is not JSON, such as ["a", "b"], {"key": 1}, "text" or 12.`);
  }
}

/** A list as it is typed at the command line, which somebody may have got used to. */
function listed(typed: string): Json[] | null {
  try {
    const list = JSON.parse(typed);
    return Array.isArray(list) && list.every((each) => typeof each === "string") ? list : null;
  } catch {
    return null;
  }
}

export function Fields({ schema, draft, change }: { schema: Schema; draft: Draft; change: (draft: Draft) => void }) {
  return <>{fieldsOf(schema).map(([name, field]) => (
    <label key={name}>
      <span>{name || field.title || "Payload"}{schema.required?.includes(name) && <em> required</em>}</span>
      <Field name={name} schema={field} required={schema.required?.includes(name) ?? false} value={draft[name] ?? ""}
        change={(value) => change({ ...draft, [name]: value })} />
      {field.description && <small>{field.description}</small>}
    </label>
  ))}</>;
}

function Field(props: { name: string; schema: Schema; required: boolean; value: string; change: (value: string) => void }) {
  const { name, schema, required, value } = props;
  const type = [schema.type].flat()[0];
  const shared = { name, required, value, onInput: (event: Event) => props.change((event.target as HTMLInputElement).value) };
  const preset = schema.default === undefined ? "" : typeof schema.default === "string" ? schema.default : JSON.stringify(schema.default);
  const hint = isLines(schema) ? "one a line" : type === "array" ? '["…"]' : "JSON";
  if (schema.enum || type === "boolean") {
    const choices: [string, string][] = schema.enum ? schema.enum.map((one, at) => [String(at), String(one)]) : [["true", "yes"], ["false", "no"]];
    return (
      <select {...shared}>
        <option value="">{preset && `${preset} (default)`}</option>
        {choices.map(([key, shown]) => <option key={key} value={key}>{shown}</option>)}
      </select>
    );
  }
  if (type === "number" || type === "integer") {
    return <input type="number" step={type === "integer" ? 1 : "any"} placeholder={preset} {...shared} />;
  }
  if (isText(schema)) return <input type="text" placeholder={preset} {...shared} />;
  return <textarea rows={3} spellcheck={false} placeholder={preset || hint} {...shared} />;
}
