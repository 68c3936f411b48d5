// Bundles the tests in web/test and runs them with node's own test runner.

import { build } from "esbuild";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const folder = join(dirname(fileURLToPath(import.meta.url)), "test");
const outdir = mkdtempSync(join(tmpdir(), "clearhead-web-"));
try {
  await build({
    entryPoints: readdirSync(folder).filter((name) => /\.test\.tsx?$/.test(name)).map((name) => join(folder, name)),
    absWorkingDir: folder,
    bundle: true,
    format: "esm",
    jsx: "automatic",
    jsxImportSource: "preact",
    logLevel: "warning",
    outdir,
    outExtension: { ".js": ".mjs" },
    platform: "node",
    sourcemap: "inline",
  });
  const files = readdirSync(outdir).filter((name) => name.endsWith(".mjs")).map((name) => join(outdir, name));
  process.exitCode = spawnSync("node", ["--enable-source-maps", "--test", ...files], { stdio: "inherit" }).status ?? 1;
} finally {
  rmSync(outdir, { recursive: true });
}
