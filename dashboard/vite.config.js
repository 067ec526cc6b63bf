// Builds into the package, and records of which sources: tests/test_dashboard.py refuses a build of others.
import { createHash } from "node:crypto";
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { defineConfig } from "vite";

const OUT = "../flowctl/server/static";
const SOURCES = ["index.html", "package.json", "package-lock.json", "tsconfig.json", "vite.config.js"];

function digest() {
  const hash = createHash("sha256");
  const modules = readdirSync("src").map((name) => `src/${name}`);
  for (const name of [...SOURCES, ...modules].sort()) hash.update(`${name}\n`).update(readFileSync(name));
  return hash.digest("hex");
}

export default defineConfig({
  base: "./", // it may be mounted anywhere
  build: { outDir: OUT, emptyOutDir: true, modulePreload: false, assetsInlineLimit: 0 },
  plugins: [{ name: "sources", closeBundle: () => writeFileSync(`${OUT}/sources.sha256`, `${digest()}\n`) }],
});
