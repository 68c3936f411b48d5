// The opening: one sentence, a large pad or picture, and the prediction in words and bars.

import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";

import { InkCanvas } from "../draw/canvas";
import { arcs, tokenName } from "../draw/geometry";
import { percent } from "../draw/numbers";
import { argmax, row } from "../engine/arithmetic";
import { meanOf } from "../engine/influence";
import { labelOf } from "../engine/predict";
import { Player, usePlayer } from "../parts/controls";
import { Bars, Label, sentenceOf } from "../parts/prediction";
import { Term } from "../parts/term";
import { WARNINGS } from "../preprocess/digits";
import { openedInWorker } from "../preprocess/worker";
import { noPredictionText, PICTURE_TEXTS, type Photo } from "../state/opened";
import { earlyShares, store } from "../state/store";
import { DigitRail, sayPrediction, WayOn } from "./frame";
import { Pad } from "./pad";

const isOver = signal(false); // whether a file is held over the page

export function DrawStep() {
  const { config } = store;
  return (
    <>
      <div class="opening">
        <h2 tabIndex={-1}>
          {config.readsDigits ? "Draw a digit." : "Choose a picture."} Watch {config.patches} pieces of it exchange information
          until a small network says what it is.
        </h2>
        <WayOn />
      </div>
      <div class="opening-body">
        <section class={`source ${isOver.value ? "over" : ""}`} aria-label="Picture">
          {config.readsDigits ? <Pad /> : <PictureField />}
          <Examples />
          <PictureButton />
        </section>
        <ModelInput />
        <Predicted />
      </div>
    </>
  );
}

const PER_LAYER = 900; // milliseconds
const MAX_LINES = 48; // of a layer

/** The model input with the lines of the chosen patch or, played, the strongest lines of one layer after the other. */
function ModelInput() {
  const { config, result, flow } = store;
  const { depth, numHeads, patches, patchShape, tokens } = config;
  const { run } = result.value;
  const player = usePlayer(depth, [run], PER_LAYER, 0);
  const { at } = player;
  useEffect(() => {
    flow.value = at;
    return () => {
      flow.value = 0;
    };
  }, [at]);
  const mean = run && at > 0 ? meanOf(run.layers[at - 1].heads.map(({ weights }) => weights)) : new Float64Array();
  const lines = [...Array(mean.length / tokens).keys()]
    .flatMap((query) =>
      arcs(query, row(mean, query, tokens), config, 1.6 / tokens)
        .filter(({ path }) => path)
        .slice(-1)
        .map((arc) => ({ ...arc, query })),
    )
    .sort((a, b) => a.weight - b.weight)
    .slice(-MAX_LINES);
  const top = lines.at(-1);
  return (
    <section class="model-input" aria-label="Model input">
      <h3>Model input</h3>
      <DigitRail
        lines={at > 0 ? lines : undefined}
        flows={at}
        readout={
          at > 0 ? (
            <>
              <b>Layer {at} of {depth}:</b>{" "}
              {top ? `the largest weight, ${percent(top.weight)}, is that of ${tokenName(top.query, config)} on ${tokenName(top.token, config)}.` : "all weights are about equal."}
            </>
          ) : undefined
        }
      />
      {run && <Player player={player} label="Watch the patches exchange information" text={at ? `Layer ${at} of ${depth}` : `Watch all ${depth} layers`} />}
      <p class="small">
        {at > 0 ? (
          `Each patch has one line, to the patch that it attends to most (mean of ${numHeads} heads). Beside it: the prediction if the model ended here.`
        ) : (
          <>
            {patches} patches of {patchShape.join(" × ")} pixels. In {depth} <Term name="layer">layers</Term> of {numHeads} <Term name="head">heads</Term> each, they take
            information from each other. Shown is one patch in one head; choose another patch.
          </>
        )}
      </p>
    </section>
  );
}

function PictureField() {
  const { config, result, state } = store;
  return (
    <div class="picture-field">
      {state.value.images.length ? (
        <InkCanvas ink={result.value.inputs[0]} config={config} label="Model input" />
      ) : (
        <p>Drop a picture here, paste one, or choose a file.</p>
      )}
    </div>
  );
}

function Examples() {
  const { payload, config } = store;
  const { strokes, images } = store.calm.value.state;
  const digits = [...new Set(config.readsDigits ? payload.examples.map(({ label }) => label) : [])].map((label) => {
    const drawings = payload.examples.filter((example) => example.label === label).map((example) => example.strokes);
    const shown = drawings.indexOf(strokes);
    return { label, image: null, isShown: shown >= 0, open: () => store.draw(drawings[(shown + 1) % drawings.length]) };
  });
  const pictures = payload.pictures.map(({ label, image }) => ({ label, image, isShown: images[0] === image, open: () => store.set({ images: [image], digit: 0 }) }));
  const examples = config.readsDigits ? digits : pictures;
  if (!examples.length) return null;
  return (
    <div class={`examples ${config.readsDigits ? "" : "pictures"}`} role="group" aria-label="Examples">
      {examples.map(({ label, image, isShown, open }, i) => (
        <button type="button" key={i} aria-pressed={isShown} aria-label={image ? undefined : `Example ${label}`} onClick={() => { open(); sayPrediction(); }}>
          {image && <InkCanvas ink={Float64Array.from(image, (byte) => byte / 255)} config={config} />}
          {label}
        </button>
      ))}
    </div>
  );
}

function PictureButton() {
  const { status } = store.picture.value;
  const isError = status === "failed" || status === "without digit";
  return (
    <p class="upload">
      <label class="button">
        Open a picture
        <input
          type="file"
          accept="image/*"
          onChange={(event) => {
            const file = event.currentTarget.files?.[0];
            if (file) void read(file);
            event.currentTarget.value = "";
          }}
        />
      </label>{" "}
      <span class={isError ? "error" : "small"} role={isError ? "alert" : undefined}>
        {PICTURE_TEXTS[status] || "or drop or paste one; it stays on this device"}
      </span>
    </p>
  );
}

async function read(file: Blob): Promise<void> {
  const before = (): Photo | null => store.picture.peek().photo;
  const isLatest = store.note({ status: "reading", photo: before() }); // a picture that is chosen later may be ready earlier
  try {
    const { inputs, ...photo } = await openedInWorker(file, store.model);
    if (!isLatest()) return;
    const doubts = inputs.flatMap(({ warnings }, i) => warnings.map((warning) => i * WARNINGS.length + warning));
    store.set({ images: inputs.map(({ pixels }) => pixels), doubts, digit: 0, strokes: [] });
    store.note({ status: inputs.length ? "read" : "without digit", photo });
  } catch {
    if (!isLatest()) return;
    store.note({ status: "failed", photo: before() });
  }
  const text = PICTURE_TEXTS[store.picture.peek().status];
  if (!text) sayPrediction("Picture opened. ");
  else store.say(store.state.peek().step === "draw" ? "" : text); // on the opening, it is beside the button
}

/** Opens pictures that are dropped on the page or pasted, in any step; else the browser would leave the page for them. */
export function useDroppedPictures(): void {
  useEffect(() => {
    const until = new AbortController();
    const readFrom = (data: DataTransfer | null): void => {
      const files = Array.from(data?.files ?? []);
      const file = files.find(({ type }) => type.startsWith("image/")) ?? files[0]; // otherwise a message says that it is not a picture
      if (file) void read(file);
    };
    const onDrag = (event: DragEvent): void => {
      event.preventDefault();
      isOver.value = event.type === "dragover";
      if (event.type === "drop") readFrom(event.dataTransfer);
    };
    addEventListener("dragover", onDrag, until);
    addEventListener("drop", onDrag, until);
    addEventListener("dragleave", (event) => {
      if (event.relatedTarget === null) isOver.value = false;
    }, until);
    addEventListener("paste", (event) => readFrom(event.clipboardData), until);
    return () => until.abort();
  }, []);
}

const MAX_BARS = 10;

export function Predicted() {
  const { config: { classNames, readsDigits }, result, state, flow } = store;
  const { predictions, digit, prediction } = result.value;
  const early = earlyShares();
  const shares = early ?? prediction?.probabilities;
  const order = classNames.map((_, i) => i);
  if (shares && order.length > MAX_BARS) order.sort((a, b) => shares[b] - shares[a]);
  const classes = order.slice(0, MAX_BARS).map((i) => ({ name: classNames[i], share: shares?.[i] ?? null }));
  const leading = early ? argmax(early) : prediction && prediction.status !== "rejected" ? prediction.best : -1;
  const picture = store.picture.value;
  const invitation = readsDigits ? "Draw a digit, or choose an example." : "Choose, paste or drop a picture.";
  const words = early
    ? `If the model ended after layer ${flow.value}: ${classNames[leading]}, ${percent(early[leading])}.`
    : prediction ? sentenceOf(prediction, classNames, readsDigits) : noPredictionText(state.value, picture, invitation);
  const label = early ? classNames[leading] : labelOf(predictions, classNames, readsDigits) || (picture.photo ? "?" : "–");
  return (
    <section class="predicted" aria-label="Prediction">
      <Label status={early ? "empty" : (prediction?.status ?? "empty")} name={label} />
      {predictions.length > 1 && (
        <p class="several">
          {predictions.length} digits: <b>{labelOf(predictions, classNames, true)}</b>. Follow{" "}
          {predictions.map((one, i) => (
            <button type="button" key={i} aria-pressed={i === digit} onClick={() => store.set({ digit: i })}>
              {labelOf([one], classNames, true)}
            </button>
          ))}
        </p>
      )}
      <p class="prediction-words">
        {words} {!early && prediction?.status === "rejected" && <Term name="certainty">What is certainty?</Term>}
      </p>
      <Bars classes={classes} best={order.indexOf(leading)} />
    </section>
  );
}
