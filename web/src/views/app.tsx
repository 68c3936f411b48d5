// The page: header, the model in one strip, and the part of it that is open.

import type { ComponentType } from "preact";
import { useEffect, useRef } from "preact/hooks";

import { percent } from "../draw/numbers";
import { argmax } from "../engine/arithmetic";
import { Meanings } from "../parts/term";
import { isModelChanged, PAGES, STEP_NAMES, themeAfter, type Step } from "../state/state";
import { earlyShares, neighbour, shortPrediction, store } from "../state/store";
import { About } from "./about";
import { QkvStep, ScaleStep, ScoresStep, SoftmaxStep } from "./attentionsteps";
import { DrawStep, useDroppedPictures } from "./drawstep";
import { Gallery } from "./gallery";
import { HeadsStep } from "./headsstep";
import { PatchesStep, PixelsStep, TokensStep } from "./inputsteps";
import { JoinStep, MixStep, PredictionStep } from "./mixsteps";
import { save, type Kind } from "./save";
import { Strip } from "./strip";
import { TextPage } from "./text";

const VIEWS: Record<Step, ComponentType> = {
  draw: DrawStep,
  pixels: PixelsStep,
  patches: PatchesStep,
  tokens: TokensStep,
  qkv: QkvStep,
  scores: ScoresStep,
  scale: ScaleStep,
  softmax: SoftmaxStep,
  mix: MixStep,
  join: JoinStep,
  heads: HeadsStep,
  prediction: PredictionStep,
  gallery: Gallery,
  text: TextPage,
  about: About,
};
const WITHOUT_PICTURE: Step[] = ["draw", "gallery", "text", "about"];

export function App() {
  const { calm, spoken, turned } = store;
  const { state: { step }, result } = calm.value;
  const View = VIEWS[step];
  const hasPicture = WITHOUT_PICTURE.includes(step) || result.run !== null;
  const main = useRef<HTMLElement>(null);
  const isFirst = useRef(true);
  useDroppedPictures();
  useEffect(() => {
    const heading = main.current?.querySelector<HTMLElement>("h2");
    if (isFirst.current || !heading) {
      isFirst.current = false;
      return;
    }
    const button = turned.by === 0 ? null : main.current?.querySelector<HTMLElement>(turned.by > 0 ? ".way .primary" : ".way .back");
    (button ?? heading).focus({ preventScroll: innerWidth >= 720 });
    if (button) store.say(heading.textContent ?? "", false);
  }, [step]);
  useEffect(() => {
    const until = new AbortController();
    addEventListener("keydown", turn, until);
    return () => until.abort();
  }, []);
  return (
    <>
      <a class="skip" href="#open" onClick={(event) => { event.preventDefault(); main.current?.querySelector<HTMLElement>("h2")?.focus(); }}>
        Skip to the open part
      </a>
      <Header />
      {step !== "text" && step !== "about" && <Strip />}
      <main ref={main} id="open" class="stage" data-step={step}>
        <View key={`${step} ${hasPicture}`} />
      </main>
      <div class="hidden" role="status" aria-live="polite">{spoken.value}</div>
      <Meanings />
    </>
  );
}

/** ← and → lead to the next step, except in controls that use them. */
function turn(event: KeyboardEvent): void {
  const by = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
  const isUsed = (event.target as Element).closest?.("input, dialog, details, [role=application], [role=grid], .strip, .scroll");
  if (by === 0 || isUsed || event.defaultPrevented || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
  const step = neighbour(store.state.value.step, by);
  if (step) store.go(step, by);
}

const SAVED: [Kind, string][] = [["svg", "Figure, SVG"], ["png", "Figure, PNG"], ["csv", "Numbers, CSV"]];

function Header() {
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
                  void save(kind);
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
  const early = earlyShares();
  const short = early ? [store.config.classNames[argmax(early)], `${percent(Math.max(...early))}, layer ${store.flow.value}`] : shortPrediction(store.result.value);
  return short && <span class="short-prediction" aria-hidden="true">{short[0]} <span>{short[1]}</span></span>;
}

/** What differs from the trained model, until it is reset. */
function Changes() {
  const changes = store.changes.value;
  if (changes.length === 0) return null;
  return (
    <div class="changes">
      <span title={changes.join(", ")}>
        <b>{isModelChanged(store.calm.value.state) ? "Not the trained model" : "The model is unchanged"}:</b> {changes.join(", ")}
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
