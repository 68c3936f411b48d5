// The whole model in one strip, with "you are here"; a click opens a part.

import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";

import { InkCanvas, NumberCanvas } from "../draw/canvas";
import { largestSize, shareColour, signedColour } from "../draw/colours";
import { headName } from "../draw/geometry";
import { gridEvents } from "../parts/grid";
import { STEP_NAMES, STEPS, type Step } from "../state/state";
import { shortPrediction, store } from "../state/store";

const IN_LAYERS: Step[] = ["qkv", "scores", "scale", "softmax", "mix", "join", "heads"];
const IN_HEAD: Step[] = ["qkv", "scores", "scale", "softmax", "mix"];

export function Strip() {
  const { config, calm } = store;
  const { state: { step, layer }, result } = calm.value;
  const { ink, run, prediction } = result;
  const { patches, embedDim, grid: [rows, columns] } = config;
  const { photo } = store.picture.value;
  const status = prediction?.status ?? "rejected";
  const [label, note] = shortPrediction(result) ?? (photo ? ["?", "no digit"] : ["–", "nothing yet"]);
  const tokens = run?.layers[0].input;
  const domain = largestSize(tokens ?? []) || 1;
  const strip = useRef<HTMLElement>(null);
  useEffect(() => {
    const here = strip.current?.querySelector<HTMLElement>(".layer.here, .part.here");
    if (!here || !strip.current) return;
    const [box, holder] = [here.getBoundingClientRect(), strip.current.getBoundingClientRect()];
    strip.current.scrollLeft += box.left + box.width / 2 - holder.left - holder.width / 2;
  }, [step, layer]);
  const events = gridEvents({
    name: "stop",
    isPicker: true,
    choose: (stop) => store.go(STEPS[stop]),
  });
  return (
    <nav class="strip" aria-label="The whole model. Arrow keys move between its steps" ref={strip} {...events}>
      <Part steps={["draw", "pixels"]} to={step === "draw" ? "pixels" : "draw"} label="Picture" note={`${config.imageShape.join(" × ")} pixels`}>
        <InkCanvas lazy ink={ink} config={config} class="square" />
      </Part>
      <Flow />
      <Part steps={["patches"]} to="patches" label="Patches" note={`${patches} pieces`}>
        <span class="square patch-thumb" style={{ "--rows": rows, "--columns": columns }}>
          <InkCanvas lazy ink={ink} config={config} />
          <span class="cuts" />
        </span>
      </Part>
      <Flow />
      <Part steps={["tokens"]} to="tokens" label="Tokens" note={`${config.tokens} × ${embedDim} numbers`}>
        {tokens ? (
          <NumberCanvas lazy class="square dim" width={embedDim} height={config.tokens} values={tokens} colourAt={(i) => signedColour(tokens[i], domain)} />
        ) : (
          <span class="none square" />
        )}
      </Part>
      <Flow />
      <div class={`part layers ${IN_LAYERS.includes(step) ? "here" : ""}`}>
        <Layers />
        <Stops steps={IN_LAYERS} />
      </div>
      <Flow />
      <Part steps={["prediction"]} to="prediction" label="Prediction" note={note}>
        <span class={`prediction-thumb square ${status} ${label.length > 2 ? "long" : ""}`}>{label}</span>
      </Part>
      <Part steps={["gallery"]} to="gallery" label="Gallery" note="what to keep">
        <span class="gallery-thumb square" aria-hidden="true">{config.readsDigits ? "4 or 9" : "!"}</span>
      </Part>
    </nav>
  );
}

interface PartProps {
  steps: Step[];
  to: Step;
  label: string;
  note: string;
  children: ComponentChildren;
}

function Part({ steps, to, label, note, children }: PartProps) {
  const isHere = steps.includes(store.calm.value.state.step);
  return (
    <div class={`part ${isHere ? "here" : ""}`}>
      <button type="button" class="open" tabIndex={-1} aria-current={isHere ? "location" : undefined} onClick={() => store.go(to)}>
        {children}
        <span class="caption">
          <b>{label}</b> <span class="note">{note}</span>
        </span>
      </button>
      <Stops steps={steps} />
    </div>
  );
}

/** The stops of the guided path in one part of the model. */
function Stops({ steps }: { steps: Step[] }) {
  const now = store.calm.value.state.step;
  return (
    <span class="stops">
      {steps.map((step) => (
        <button
          type="button"
          key={step}
          class="stop"
          aria-current={step === now ? "step" : undefined}
          title={STEP_NAMES[step]}
          data-stop={STEPS.indexOf(step)}
          tabIndex={step === now ? 0 : -1}
          aria-label={`${STEPS.indexOf(step) + 1} ${STEP_NAMES[step]}${step === now ? ": you are here" : ""}`}
        >
          <span class="dot" aria-hidden="true" />
          {steps.length > 1 && <span class="stop-name" aria-hidden="true">{STEP_NAMES[step]}</span>}
        </button>
      ))}
    </span>
  );
}

function Flow() {
  return <span class="flow" aria-hidden="true" />;
}

function Layers() {
  const { config, calm, flow } = store;
  const { state: { layer, head: nowHead, step, removed }, result: { run } } = calm.value;
  const nowLayer = flow.value > 0 ? flow.value - 1 : layer;
  const isFlowing = step === "draw" && flow.value > 0;
  const isInHead = IN_HEAD.includes(step);
  const across = Math.ceil(Math.sqrt(config.numHeads));
  return (
    <div
      class="columns"
      style={{ "--across": across }}
      {...gridEvents({
        name: "head",
        isPicker: true,
        choose: (place) => store.pickHead(Math.floor(place / config.numHeads), place % config.numHeads, IN_LAYERS.includes(step) ? step : "softmax"),
      })}
    >
      {Array.from({ length: config.depth }, (_, layer) => (
        <div class={`layer ${layer === nowLayer && (isInHead || isFlowing || step === "join") ? "here" : ""}`} key={layer} role="group" aria-label={`Layer ${layer + 1}`}>
          <span class="thumbs">
            {Array.from({ length: config.numHeads }, (_, head) => {
              const isRemoved = removed.includes(layer * config.numHeads + head);
              const isNow = layer === nowLayer && head === nowHead;
              return (
                <button
                  type="button"
                  key={head}
                  class={`thumb ${isNow && !isFlowing ? "now" : ""} ${isRemoved ? "removed" : ""}`}
                  aria-label={`${headName(layer, head)}${isRemoved ? ", removed" : ""}`}
                  aria-current={isNow && isInHead ? "location" : undefined}
                  title={`${headName(layer, head)}: layer ${layer + 1}, head ${head + 1}`}
                  data-head={layer * config.numHeads + head}
                  tabIndex={isNow ? 0 : -1}
                >
                  {run && !isRemoved && <WeightThumb weights={run.layers[layer].heads[head].weights} tokens={config.tokens} />}
                </button>
              );
            })}
          </span>
          <span class="layer-name">Layer {layer + 1}</span>
        </div>
      ))}
    </div>
  );
}

/** The weights of one head on the fixed scale. */
export function WeightThumb({ weights, tokens }: { weights: Float64Array; tokens: number }) {
  return <NumberCanvas lazy width={tokens} height={tokens} values={weights} colourAt={(i) => shareColour(weights[i])} />;
}
