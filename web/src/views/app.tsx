// The page: header, the model in one strip, and the part of it that is open.

import type { ComponentType } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";

import type { Step } from "../state/state";
import { StoreContext, neighbour, useStore, withExample, type Store } from "../state/store";
import { Meanings } from "../parts/term";
import { About } from "./about";
import { PredictionStep } from "./predictionstep";
import { DrawStep } from "./drawstep";
import { Gallery } from "./gallery";
import { Header } from "./header";
import { HeadsStep } from "./headsstep";
import { JoinStep, MixStep } from "./mixsteps";
import { PatchesStep, PixelsStep, TokensStep } from "./inputsteps";
import { QkvStep, ScaleStep, ScoresStep, SoftmaxStep } from "./attentionsteps";
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
  const store = useStore();
  const { calm, message, turned } = store;
  const { state: { step }, result } = calm.value;
  const View = VIEWS[step];
  const hasPicture = WITHOUT_PICTURE.includes(step) || result.run !== null;
  const example = useMemo(() => withExample(store), []);
  const main = useRef<HTMLElement>(null);
  const isFirst = useRef(true);
  const [title, setTitle] = useState(""); // of the open step, for the live region
  useEffect(() => {
    const heading = main.current?.querySelector<HTMLElement>("h2");
    if (isFirst.current || !heading) {
      isFirst.current = false;
      return;
    }
    const button = turned.by === 0 ? null : main.current?.querySelector<HTMLElement>(turned.by > 0 ? ".way .primary" : ".way .back");
    (button ?? heading).focus({ preventScroll: innerWidth >= 800 });
    setTitle(button ? (heading.textContent ?? "") : "");
  }, [step]);
  useEffect(() => {
    const until = new AbortController();
    addEventListener("keydown", (event) => turn(store, event), until);
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
        <StoreContext.Provider value={hasPicture ? store : example}>
          <View key={`${step} ${hasPicture}`} />
        </StoreContext.Provider>
      </main>
      <div class="hidden" role="status" aria-live="polite">
        {message.value || title}
      </div>
      <Meanings />
    </>
  );
}

/** ← and → lead to the next step, except in controls that use them. */
function turn(store: Store, event: KeyboardEvent): void {
  const by = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
  const isUsed = (event.target as Element).closest?.("input, dialog, details, [role=application], [role=grid], .strip, .scroll");
  if (by === 0 || isUsed || event.defaultPrevented || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
  const step = neighbour(store.state.value.step, by);
  if (step) store.go(step, by);
}
