// The microscope: reads the page's data, builds the models, and keeps the address in step with the state.

import { effect } from "@preact/signals";
import { render } from "preact";

import { readPayload, readTensors } from "./data/payload";
import { readConfig } from "./engine/config";
import { buildTextModel } from "./engine/text";
import { buildModel, forward } from "./engine/vit";
import { isWorker, work } from "./preprocess/worker";
import { applyTheme } from "./state/state";
import { openStore, store } from "./state/store";
import { App } from "./views/app";
import "./style/base.css";
import "./style/layout.css";
import "./style/parts.css";
import "./style/steps.css";

const WRITTEN_AFTER = 400; // milliseconds without a change; browsers limit how often the address changes

function start(): void {
  const text = (id: string): string => document.getElementById(id)?.textContent ?? "";
  const payload = readPayload(document);
  const model = buildModel(readConfig(payload.settings), readTensors(text("weights"), payload.tensors));
  const textModel = buildTextModel(payload.text.settings, readTensors(text("text-weights"), payload.text.tensors));
  openStore(payload, model, textModel, location.hash);
  let timer = 0;
  let written = store.hash();
  let { step } = store.state.peek();
  const write = (): void => {
    const hash = store.hash();
    if (hash === written || store.drawn.peek()) return; // after a stroke, the state changes again
    written = hash;
    const isSameStep = store.state.peek().step === step; // else the browser's Back leads to the last one
    ({ step } = store.state.peek());
    history[isSameStep ? "replaceState" : "pushState"](null, "", `#${hash}`);
  };
  store.state.subscribe(() => {
    clearTimeout(timer);
    timer = window.setTimeout(write, WRITTEN_AFTER);
  });
  addEventListener("hashchange", () => {
    written = location.hash.slice(1);
    store.restore(location.hash);
    ({ step } = store.state.peek());
  });
  effect(() => applyTheme(store.state.value.theme));
  effect(() => {
    document.documentElement.toggleAttribute("data-settled", store.settled.value);
  });
  Object.assign(globalThis, { clearhead: { store, forward } }); // for tests and benchmarks, and for the browser's console
  render(<App />, document.getElementById("app") as HTMLElement);
}

if (isWorker) work();
else start();
