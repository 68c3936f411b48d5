// Builds the bundles that the Python package ships, or with --out writes them to another folder.

import { build } from "esbuild";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(fileURLToPath(import.meta.url));
const place = process.argv.indexOf("--out");
const outdir = place < 0 ? join(root, "../src/clearhead") : process.argv[place + 1];

await build({
  entryPoints: {
    "microscope/assets/microscope": join(root, "src/main.tsx"),
    "explanation/assets/explanation": join(root, "src/explain.tsx"),
    "explanation/assets/base": join(root, "src/style/document.css"),
  },
  absWorkingDir: root,
  bundle: true,
  charset: "utf8",
  format: "iife",
  jsx: "automatic",
  jsxImportSource: "preact",
  legalComments: "none",
  logLevel: "warning",
  minify: true,
  outdir,
  target: ["chrome111", "firefox121", "safari17.2"],
});
