// The opening: one sentence, a large pad or picture, and the prediction beside it.

import { useEffect, useState } from "preact/hooks";

import { InkCanvas } from "../draw/canvas";
import { arcs, headName } from "../draw/geometry";
import { exactPercent, percent } from "../draw/numbers";
import { argmax, row } from "../engine/arithmetic";
import { meanOf } from "../engine/maps";
import { Player, usePlayer } from "../parts/controls";
import { WARNINGS, inputsOfPicture } from "../preprocess/digits";
import { pixelsOf } from "../preprocess/image";
import { useStore, type Store } from "../state/store";
import { Predicted } from "./predicted";
import { DigitRail, WayOn } from "./frame";
import { Pad } from "./pad";

export function DrawStep() {
  const store = useStore();
  const { config } = store;
  const drop = usePictures(store);
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
        <section class={`source ${drop.isOver ? "over" : ""}`} aria-label="Picture">
          {config.readsDigits ? <Pad /> : <PictureField />}
          <Examples />
          <PictureButton read={drop.read} error={drop.error} />
        </section>
        <Seen />
        <Predicted />
      </div>
    </>
  );
}

/** The model input with the chosen patch's lines or, on request, the lines of all patches in one layer after the other. */
function Seen() {
  const { config, result, calm } = useStore();
  const { classNames, depth, numHeads, tokens } = config;
  const { layer, head } = calm.value.state;
  const { run, lens } = result.value;
  const player = usePlayer(depth, [run], 1200, 0);
  const { at } = player;
  const shown = run && at > 0 ? meanOf(run.layers[at - 1].heads.map(({ weights }) => weights)) : null;
  const lines = shown && Array.from({ length: tokens }, (_, query) => arcs(query, row(shown, query, tokens), config, 1.6 / tokens).slice(-2));
  const best = argmax(lens[at] ?? []);
  return (
    <section class="seen" aria-label="Model input">
      <h3>Model input</h3>
      {lines ? (
        <DigitRail
          lines={lines.flat().filter(({ path }) => path)}
          readout={<>In <b>layer {at}</b>, each patch takes most from these. Ending here, the model would predict <b>{classNames[best]}</b>, {percent(lens[at][best])}.</>}
        />
      ) : (
        <DigitRail />
      )}
      {run && <Player player={player} label="Watch the patches exchange information" text={at ? `Layer ${at} of ${depth}` : `Watch all ${depth} layers`} />}
      <p class="small">
        {at
          ? `Mean of the ${numHeads} heads of a layer. After the last layer, the mean of all patches decides.`
          : `Lines show where the chosen patch takes information from, in ${headName(layer, head)}: layer ${layer + 1}, head ${head + 1}, one of ${depth * numHeads}. Uniform is an equal share, ${exactPercent(1 / tokens)}.`}
      </p>
    </section>
  );
}

function PictureField() {
  const { config, result, state } = useStore();
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
  const store = useStore();
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
        <button type="button" key={i} aria-pressed={isShown} aria-label={image ? undefined : `Example ${label}`} onClick={open}>
          {image && <InkCanvas ink={Float64Array.from(image, (byte) => byte / 255)} config={config} />}
          {label}
        </button>
      ))}
    </div>
  );
}

function PictureButton({ read, error }: { read: (file: Blob) => void; error: string }) {
  return (
    <p class="upload">
      <label class="button">
        Open a picture
        <input
          type="file"
          accept="image/*"
          onChange={(event) => {
            const file = event.currentTarget.files?.[0];
            if (file) read(file);
            event.currentTarget.value = "";
          }}
        />
      </label>{" "}
      <span class={error ? "error" : "small"} role={error ? "alert" : undefined}>{error || "or drop or paste one; it stays on this device"}</span>
    </p>
  );
}

/** Pictures that are dropped on the page, pasted or chosen. */
function usePictures(store: Store): { isOver: boolean; error: string; read: (file: Blob) => void } {
  const [isOver, setOver] = useState(false);
  const [error, setError] = useState("");
  const read = async (file: Blob): Promise<void> => {
    try {
      const inputs = inputsOfPicture(await pixelsOf(file), store.config);
      const problem = inputs.length === 0 ? "No digit was found in this picture." : "";
      setError(problem);
      if (problem) return store.say(problem);
      const doubts = inputs.flatMap(({ warnings }, i) => warnings.map((warning) => i * WARNINGS.length + warning));
      store.set({ images: inputs.map(({ pixels }) => pixels), doubts, digit: 0, strokes: [] });
      store.say("Picture opened.");
    } catch {
      setError("This file is not a picture that the browser can open.");
      store.say("");
    }
  };
  useEffect(() => {
    const until = new AbortController();
    const readFrom = (data: DataTransfer | null): void => {
      const file = Array.from(data?.files ?? []).find(({ type }) => type.startsWith("image/"));
      if (file) void read(file);
    };
    const onDrag = (event: DragEvent): void => {
      event.preventDefault();
      setOver(event.type === "dragover");
      if (event.type === "drop") readFrom(event.dataTransfer);
    };
    addEventListener("dragover", onDrag, until);
    addEventListener("drop", onDrag, until);
    addEventListener("dragleave", (event) => event.relatedTarget === null && setOver(false), until);
    addEventListener("paste", (event) => readFrom(event.clipboardData), until);
    return () => until.abort();
  }, []);
  return { isOver, error, read: (file) => void read(file) };
}
