// Bundles the tests in web/test and runs them with node's own test runner.

import { build } from "esbuild";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const ALONE = ["memory.test.ts"]; // changes what all tests of its process use

const folder = join(dirname(fileURLToPath(import.meta.url)), "test");
const names = readdirSync(folder).filter((name) => /\.test\.tsx?$/.test(name));
const outdir = mkdtempSync(join(tmpdir(), "clearhead-web-"));

/** Runs tests of some files in one process, each of which would take 0.15 s to start. */
async function run(files, outfile) {
  await build({
    stdin: { contents: files.map((name) => `import "./${name}";`).join("\n"), resolveDir: folder },
    absWorkingDir: folder,
    bundle: true,
    format: "esm",
    jsx: "automatic",
    jsxImportSource: "preact",
    logLevel: "warning",
    outfile,
    platform: "node",
    sourcemap: "inline",
  });
  return spawnSync("node", ["--enable-source-maps", outfile], { stdio: "inherit" }).status ?? 1;
}

try {
  const together = await run(names.filter((name) => !ALONE.includes(name)), join(outdir, "together.mjs"));
  const alone = await Promise.all(ALONE.map((name) => run([name], join(outdir, `${name}.mjs`))));
  process.exitCode = Math.max(together, ...alone);
} finally {
  rmSync(outdir, { recursive: true });
}
