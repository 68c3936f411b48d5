// The page: header, the model in one strip, and the part of it that is open.

import type { ComponentType } from "preact";
import { useEffect, useRef } from "preact/hooks";

import type { Step } from "../state/state";
import { useStore } from "../state/store";
import { About } from "./about";
import { PredictionStep } from "./predictionstep";
import { DrawStep } from "./drawstep";
import { NoPicture } from "./frame";
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
  const { calm, message } = useStore();
  const { state: { step }, result } = calm.value;
  const View = WITHOUT_PICTURE.includes(step) || result.run ? VIEWS[step] : NoPicture;
  const main = useRef<HTMLElement>(null);
  const isFirst = useRef(true);
  useEffect(() => {
    if (isFirst.current) isFirst.current = false;
    else main.current?.querySelector<HTMLElement>("h2")?.focus({ preventScroll: innerWidth >= 800 });
  }, [step]);
  return (
    <>
      <a class="skip" href="#open" onClick={(event) => { event.preventDefault(); main.current?.querySelector<HTMLElement>("h2")?.focus(); }}>
        Skip to the open part
      </a>
      <Header />
      {step !== "text" && step !== "about" && <Strip />}
      <main ref={main} id="open" class="stage" data-step={step}>
        <View key={step} />
      </main>
      <div class="hidden" role="status" aria-live="polite">
        {message.value}
      </div>
    </>
  );
}
