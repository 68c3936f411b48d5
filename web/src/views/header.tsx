// Name, changes of the model, and the page's tools.

import { useRef } from "preact/hooks";

import { percent } from "../draw/numbers";
import { argmax } from "../engine/arithmetic";
import { labelOf } from "../engine/predict";
import { PAGES, isModelChanged, themeAfter } from "../state/state";
import { earlyShares, useStore } from "../state/store";
import { save, type Kind } from "./save";
import { STEP_NAMES } from "./strip";

const SAVED: [Kind, string][] = [["svg", "Figure, SVG"], ["png", "Figure, PNG"], ["csv", "Numbers, CSV"]];

export function Header() {
  const store = useStore();
  const { step, theme } = store.calm.value.state;
  const menu = useRef<HTMLDetailsElement>(null);
  const copy = async (): Promise<void> => {
    const link = `${location.href.split("#")[0]}#${store.hash()}`;
    try {
      await navigator.clipboard.writeText(link);
      store.say("Link copied. It holds the drawing and all settings.");
    } catch {
      history.replaceState(null, "", link);
      store.say("The browser did not allow copying. The address bar has the link.");
    }
  };
  return (
    <header class="top">
      <h1>
        <button type="button" class="name" onClick={() => store.go("draw")}>
          <span class="lens" aria-hidden="true" /> Clearhead <span>microscope</span>
        </button>
      </h1>
      <ShortPrediction />
      <div class="news">
        <Changes />
        <p class="message" aria-hidden="true">{store.message.value}</p>
      </div>
      <nav class="tools" aria-label="Page">
        {PAGES.map((page) => (
          <button type="button" key={page} aria-current={step === page ? "page" : undefined} onClick={() => store.go(page)}>
            {STEP_NAMES[page]}
          </button>
        ))}
        <button type="button" onClick={() => store.set({ theme: themeAfter(theme) })}>Theme: {theme}</button>
        <details class="menu" ref={menu}>
          <summary>Save</summary>
          <div>
            {SAVED.map(([kind, text]) => (
              <button
                type="button"
                key={kind}
                onClick={() => {
                  if (menu.current) menu.current.open = false;
                  void save(store, kind);
                }}
              >
                {text}
              </button>
            ))}
          </div>
        </details>
        <button type="button" onClick={copy}>Copy link</button>
      </nav>
      {store.examples.value.failed && (
        <p class="failed" role="alert">
          Self-check failed: in this browser the page's numbers differ from PyTorch's. Do not rely on them.
        </p>
      )}
    </header>
  );
}

/** The prediction in two words, on small screens always in sight. */
function ShortPrediction() {
  const store = useStore();
  const { classNames, readsDigits } = store.config;
  const { prediction, predictions } = store.result.value;
  const early = earlyShares(store);
  if (!prediction) return null;
  return (
    <span class="short-prediction" aria-hidden="true">
      {early ? classNames[argmax(early)] : labelOf(predictions, classNames, readsDigits)}{" "}
      <span>{early ? `${percent(Math.max(...early))}, layer ${store.flow.value}` : percent(prediction.probabilities[prediction.best])}</span>
    </span>
  );
}

/** What differs from the trained model, until it is reset. */
function Changes() {
  const store = useStore();
  const changes = store.changes.value;
  if (changes.length === 0) return null;
  return (
    <div class="changes">
      <span>
        <b>Changed:</b> {changes.join(", ")}
        {isModelChanged(store.calm.value.state) ? " – not the trained model" : " – the model is unchanged"}
      </span>
      <button
        type="button"
        onClick={() => {
          store.set({ centred: true });
          store.reset();
          store.say("All changes are undone.");
        }}
      >
        Reset
      </button>
    </div>
  );
}
