// From the picture to tokens: pixels, patches, and tokens with positions.

import { useState } from "preact/hooks";

import { largestSize, type Colour } from "../draw/colours";
import { GROUND, InkCanvas, NumberCanvas, inkColour } from "../draw/canvas";
import { tokenName, tokenShort } from "../draw/geometry";
import { decimal, scientific } from "../draw/numbers";
import { argmax, largestDifference, norm, row } from "../engine/arithmetic";
import type { Config } from "../engine/config";
import { cutPatches } from "../engine/patches";
import { VectorStrip } from "../parts/bars";
import { Term } from "../parts/term";
import { Slider, TableButton, Toggle, usePlayer } from "../parts/controls";
import { Formula } from "../parts/formula";
import { gridEvents } from "../parts/grid";
import { CanvasMatrix } from "../parts/matrix";
import { toggled } from "../state/state";
import { current, store } from "../state/store";
import { Change, Effect, Frame, sentence, Try } from "./frame";
import { Drawing } from "./pad";

export function PixelsStep() {
  const { config, ink, inputs, strokes, images, centred } = current();
  const { imageShape, inChannels, readsDigits } = config;
  const [high, wide] = imageShape;
  const [chosen, choose] = useState<[number, number]>(() => {
    const brightest = argmax(ink) % (high * wide);
    return [Math.floor(brightest / wide), brightest % wide];
  });
  const [hover, setHover] = useState<[number, number] | null>(null);
  const shown = hover ?? chosen;
  const size = { width: `${Math.min(100, (100 * wide) / high)}%` }; // at most as high as a square
  const [x, y] = massCentre(ink, config);
  const count = high * wide * inChannels;
  const nameAt = (line: number, column: number): string => {
    const values = Array.from({ length: inChannels }, (_, channel) => decimal(ink[(channel * high + line) * wide + column]));
    return `Row ${line + 1}, column ${column + 1}: ${values.join(", ")}`;
  };
  return (
    <Frame
      title={`The picture becomes ${count} numbers`}
      text={
        !readsDigits
          ? "The picture is scaled and cut to the size that the model was trained on. Each pixel is one number for each colour."
          : centred
            ? <>The digit is scaled until its longer side is 20 pixels, and moved until its <Term name="centre of mass" /> is in the middle: every digit that the model learnt from was prepared like this.</>
            : "Not centred: the drawing keeps its size and place. The model was not trained on such digits, so its prediction may be wrong."
      }
      formula={<Formula>{`${[...imageShape, ...(inChannels === 1 ? [] : [inChannels])].join(" × ")} = ${count}`}</Formula>}
      rail={
        <>
          <h3>{images.length ? "Your picture" : "Your drawing"}</h3>
          {images.length ? (
            <div style={size}><InkCanvas ink={inputs[0]} config={config} class="slide" label="Picture" /></div>
          ) : (
            <Drawing strokes={strokes} label="Your drawing" />
          )}
          {readsDigits && images.length === 0 && (
            <Try>
              <Toggle on={centred} toggle={() => store.set({ centred: !centred })}>Scale and centre</Toggle>
            </Try>
          )}
          <button type="button" onClick={() => store.go("draw")}>{readsDigits ? "Draw another" : "Choose another"}</button>
        </>
      }
    >
      <div class="pixels">
        <section>
          <h3>Model input</h3>
          <div class="pixel-holder" style={size}>
            <CanvasMatrix
              label={`Model input: ${high} by ${wide} pixels. Arrow keys move between them`}
              rows={new Array(high).fill("")}
              columns={new Array(wide).fill("")}
              colourAt={(line, column) => inkColour(ink, line * wide + column, config)}
              nameAt={nameAt}
              chosen={chosen}
              shown={shown}
              drawn={ink}
              choose={(...place) => choose(place)}
              hover={setHover}
            />
            {readsDigits && (
              <svg viewBox={`0 0 ${wide} ${high}`} class="over" aria-hidden="true">
                <path class="centre" d={`M${x - 1} ${y}h2M${x} ${y - 1}v2`} />
              </svg>
            )}
          </div>
        </section>
        <div class="aside">
          <p class="readout">
            <b>{nameAt(...shown)}</b>{readsDigits ? " (0 is paper, 1 is full ink)" : inChannels === 3 && " (red, green, blue)"}. Point at a pixel, or use the arrow keys in the picture.
          </p>
          {readsDigits && (
            <p class="small">
              The cross marks the centre of mass, the mean position of the ink: ({decimal(x, 1)}, {decimal(y, 1)}).
              {centred && ` Whole pixels bring it as near as they can to (${wide / 2 + 0.5}, ${high / 2 + 0.5}), where MNIST has it.`}
            </p>
          )}
          <TableButton
            caption="Pixels of the model input, from 0 to 1"
            columns={["Row", ...Array.from({ length: wide }, (_, i) => String(i + 1))]}
            rows={() => Array.from({ length: high }, (_, i) => [String(i + 1), ...Array.from(row(ink, i, wide), (one) => decimal(one))])}
          />
        </div>
      </div>
    </Frame>
  );
}

/** In pixels: the middle of the first pixel is 0.5. */
function massCentre(ink: Float64Array, { imageShape: [high, wide] }: Config): [number, number] {
  let [sum, x, y] = [0, 0, 0];
  for (let i = 0; i < high * wide; i++) {
    sum += ink[i];
    x += ink[i] * ((i % wide) + 0.5);
    y += ink[i] * (Math.floor(i / wide) + 0.5);
  }
  return sum > 0 ? [x / sum, y / sum] : [wide / 2, high / 2];
}

export function PatchesStep() {
  const { config, ink, blank, query, noisyPatches, noise } = current();
  const { patches, grid: [rows, columns], patchShape, numPrefixTokens } = config;
  const player = usePlayer(patches, [], 160);
  const cut = cutPatches(ink, config);
  const chosen = query - numPrefixTokens;
  const numBlank = blank.filter(Boolean).length;
  const half = Math.ceil(patches / 2);
  const events = gridEvents({
    name: "piece",
    isPicker: true,
    choose: (patch) => store.set({ query: patch + numPrefixTokens }),
  });
  return (
    <Frame
      title={`${patches} pieces instead of one picture`}
      text="The picture is cut into patches that do not overlap. From here on this list is the input: a token has no information about other patches until attention mixes them."
      formula={<Formula>{`${config.imageShape.join(" × ")} = ${patches} \u00a0patches × ${patchShape.join(" × ")} \u00a0pixels`}</Formula>}
      readout={`${sentence(tokenName(query, config))} is ${blank[chosen] ? "blank" : "chosen"}.`}
      player={{ player, label: "Cut the picture", text: `${player.at} of ${patches}` }}
      question={
        config.readsDigits && {
          id: "blank",
          text: `How many of the ${patches} patches are blank?`,
          options: ["none", `1 to ${Math.floor(patches / 2)}`, `more than ${Math.floor(patches / 2)}`],
          correct: numBlank === 0 ? 0 : numBlank <= patches / 2 ? 1 : 2,
          explain: `${numBlank} of ${patches} hold no ink. They take part in attention all the same.`,
        }
      }
      trial={
        <>
          <button type="button" onClick={() => store.set({ noisyPatches: toggled(noisyPatches, chosen) })}>
            {noisyPatches.includes(chosen) ? "Remove the noise from" : "Add noise to"} patch {chosen + 1}
          </button>
          {noisyPatches.length > 0 && (
            <Slider label="Strength" min={0} max={1} step={0.05} value={noise} text={decimal(noise)} change={(value) => store.set({ noise: value })} />
          )}
          <Effect />
        </>
      }
    >
      <div class="sequence" style={{ "--rows": rows, "--columns": columns, "--slots": half }} role="group" aria-label="Patches. Arrow keys move between them" {...events}>
        <span class="emptied small">{player.at === patches && `All ${patches} are in the list.`}</span>
        {Array.from({ length: patches }, (_, patch) => {
          const isOut = patch < player.at;
          const across = isOut ? half : columns;
          const isNoisy = noisyPatches.includes(patch);
          const pixels = row(cut, patch, cut.length / patches);
          return (
            <button
              type="button"
              key={patch}
              class={`piece ${isOut ? "out" : ""} ${patch === chosen ? "now" : ""} ${isNoisy ? "noisy" : ""}`}
              style={{ "--x": patch % across, "--y": Math.floor(patch / across) }}
              aria-label={`Patch ${patch + 1}${blank[patch] ? ", blank" : ""}${isNoisy ? ", with noise" : ""}`}
              aria-pressed={patch === chosen}
              data-piece={patch}
              tabIndex={patch === Math.max(0, chosen) ? 0 : -1}
            >
              <InkCanvas ink={pixels} values={pixels.join()} config={{ ...config, imageShape: patchShape }} />
              <span class="number">{patch + 1}</span>
            </button>
          );
        })}
      </div>
    </Frame>
  );
}

export function TokensStep() {
  const { config, run, ink, query, positions, seed } = current();
  const { embedDim, patches } = config;
  const patch = query - config.numPrefixTokens;
  const token = row(run.layers[0].input, query, embedDim);
  const content = patch < 0 ? Float64Array.from(store.model.classToken ?? []) : row(run.patchTokens, patch, embedDim);
  const position = token.map((value, i) => value - content[i]);
  const domain = largestSize(token, content) || 1;
  const length = ink.length / patches;
  const pixels = row(cutPatches(ink, config), patch, length);
  const number = tokenShort(query, config);
  const hasPositions = config.posEmbed !== "none";
  return (
    <Frame
      title="Each patch becomes a token"
      text={
        <>
          One <Term name="matrix" /> turns the pixels of a patch into a <Term name="vector" />. A position vector is added, because attention itself does not depend on position. The sum
          is the <Term name="token" />. All {config.tokens} tokens enter the first layer together.
        </>
      }
      formula={
        <Formula>
          {`*x_${number} = *W *p_${number} + *b ${hasPositions && positions ? `+ *e_${number}` : ""} ,\u2003 ${length} → ${embedDim} \u00a0numbers`}
        </Formula>
      }
      readout={`${sentence(tokenName(query, config))} is shown. Choose another one.`}
      domain={domain}
      note={<>Length of the token: ‖x‖ = {decimal(norm(token))}</>}
      table={{
        caption: `Token of ${tokenName(query, config)}`,
        columns: ["i", "W p + b", "position", "token"],
        rows: () => Array.from(token, (value, i) => [i + 1, decimal(content[i]), decimal(position[i]), decimal(value)]),
      }}
      question={
        hasPositions && {
          id: "shuffle",
          text: "Suppose positions are left out, and the patches put in another order. Does the prediction change?",
          options: ["yes", "no"],
          correct: 1,
          explain: "Attention adds up over all patches, in whatever order. Try it: switch positions off, then shuffle.",
        }
      }
      trial={
        hasPositions && (
          <>
            <Toggle on={positions} toggle={() => store.set({ positions: !positions })}>Positions</Toggle>
            <Toggle on={seed !== 0} toggle={() => store.set({ seed: seed === 0 ? 5 : 0 })}>Shuffle patches</Toggle>
            {seed === 0 ? <Effect /> : <ShuffleProof />}
          </>
        )
      }
    >
      <div class="strips">
        {patch >= 0 && (
          <div class="strip-row">
            <span>pixels of patch {patch + 1}</span>
            <NumberCanvas class="vector pixels-of" width={length} height={1} values={ink}
              colourAt={(i) => (config.inChannels === 1 ? inkColour(pixels, i, config) : GROUND.map((c) => c + (255 - c) * pixels[i]) as Colour)} />
          </div>
        )}
        <VectorStrip name="W p + b" values={content} domain={domain} />
        <VectorStrip name="+ position" values={position} domain={domain} />
        <VectorStrip name="= token" values={token} domain={domain} class="total" />
      </div>
    </Frame>
  );
}

/** What the order of the patches alone changes. */
function ShuffleProof() {
  const { run, prediction } = current();
  const still = store.resultOf({ ...store.state.value, seed: 0 });
  const largest = largestDifference(run.logits, still.run?.logits ?? []);
  return (
    <p class="effect" data-number="shuffle">
      <Change before={still.prediction!} now={prediction} /> By the order alone, <Term name="logit">logits</Term> change by at most{" "}
      {largest < 0.001 ? `${scientific(largest)}, which is rounding` : decimal(largest, 1)}.
    </p>
  );
}
