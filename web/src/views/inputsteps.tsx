// From the picture to tokens: pixels, patches, and tokens with positions.

import { useState } from "preact/hooks";

import { largestSize } from "../draw/colours";
import { GROUND, InkCanvas, NumberCanvas, inkColour } from "../draw/canvas";
import { tokenName, tokenShort } from "../draw/geometry";
import { decimal, percent, scientific } from "../draw/numbers";
import { largestDifference, norm, row } from "../engine/arithmetic";
import type { Config } from "../engine/config";
import { cutPatches } from "../engine/patches";
import { VectorStrip } from "../parts/bars";
import { Player, Slider, TableButton, Toggle, usePlayer } from "../parts/controls";
import { Formula } from "../parts/formula";
import { SignedScale } from "../parts/scale";
import { CANVAS } from "../preprocess/strokes";
import { toggled } from "../state/state";
import type { Store } from "../state/store";
import { DigitRail, Frame, Question, Try } from "./frame";
import { Strokes } from "./pad";

export function PixelsStep({ store }: { store: Store }) {
  const { config, result, state } = store;
  const { ink, run } = result.value;
  const [high, wide] = config.imageShape;
  const [place, setPlace] = useState<[number, number] | null>(null);
  const isGrey = config.inChannels === 1;
  const [x, y] = massCentre(ink, config);
  const { strokes, images, centred } = state.value;
  return (
    <Frame
      store={store}
      title={`The picture becomes ${high * wide * config.inChannels} numbers`}
      text={
        config.readsDigits
          ? centred
            ? "The digit is scaled until its longer side is 20 pixels, and moved until its centre of mass is in the middle: every digit that the model learnt from was prepared like this."
            : "Not centred: the drawing keeps its size and place. The model was not trained on such digits, so its prediction may be wrong."
          : "The picture is scaled and cut to the size that the model was trained on. Each pixel is one number for each colour."
      }
      formula={<Formula>{`${[high, wide, ...(isGrey ? [] : [config.inChannels])].join(" × ")} = ${high * wide * config.inChannels}`}</Formula>}
      rail={
        <>
          <h3>{images.length ? "Your picture" : "Your drawing"}</h3>
          {images.length ? (
            <InkCanvas ink={result.value.inputs[0]} config={config} class="slide" label="Picture" />
          ) : (
            <svg class="slide" viewBox={`0 0 ${CANVAS} ${CANVAS}`} role="img" aria-label="Your drawing">
              <Strokes strokes={strokes} />
            </svg>
          )}
          {config.readsDigits && images.length === 0 && (
            <Try>
              <Toggle on={centred} toggle={() => store.set({ centred: !centred })}>Scale and centre</Toggle>
            </Try>
          )}
          <button type="button" onClick={() => store.go("draw")}>Draw another</button>
        </>
      }
    >
      {run && (
        <div class="pixels">
          <div class="pixel-holder">
            <InkCanvas class="slide" ink={ink} config={config} label={`Model input: ${high} by ${wide} pixels`} />
            <svg viewBox={`0 0 ${wide} ${high}`} class="over" aria-hidden="true"
              onPointerMove={(event) => {
                const box = event.currentTarget.getBoundingClientRect();
                const at = [((event.clientY - box.top) / box.height) * high, ((event.clientX - box.left) / box.width) * wide];
                setPlace([Math.min(high - 1, Math.max(0, Math.floor(at[0]))), Math.min(wide - 1, Math.max(0, Math.floor(at[1])))]);
              }}
              onPointerLeave={() => setPlace(null)}
            >
              <rect x={0} y={0} width={wide} height={high} fill="transparent" />
              {config.readsDigits && <path class="centre" d={`M${x - 1} ${y}h2M${x} ${y - 1}v2`} />}
              {place && <rect class="pixel" x={place[1]} y={place[0]} width={1} height={1} />}
            </svg>
          </div>
          <div class="aside">
            <p class="readout">
              {place === null && "Point at a pixel to read its number."}
              {place && <>Row {place[0] + 1}, column {place[1] + 1}: <b>{decimal(ink[place[0] * wide + place[1]])}</b></>}
              {place && (config.readsDigits ? " of full ink (0 is paper, 1 is ink)" : " in the first channel")}
            </p>
            {config.readsDigits && (
              <p class="small">
                The cross marks the centre of mass, ({decimal(x, 1)}, {decimal(y, 1)}); the middle is ({wide / 2}, {high / 2}).
              </p>
            )}
            <TableButton
              data={() => ({
                caption: "Pixels of the model input, from 0 to 1",
                columns: ["Row", ...Array.from({ length: wide }, (_, i) => String(i + 1))],
                rows: Array.from({ length: high }, (_, i) => [String(i + 1), ...Array.from(row(ink, i, wide), (one) => decimal(one))]),
              })}
            />
          </div>
        </div>
      )}
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

export function PatchesStep({ store }: { store: Store }) {
  const { config, result, state } = store;
  const { ink, blank } = result.value;
  const [rows, columns] = config.grid;
  const { patches } = config;
  const player = usePlayer(patches, [], 160);
  const { noisyPatches, noise } = state.value;
  const cut = cutPatches(ink, config);
  const length = cut.length / patches;
  const numBlank = blank.filter(Boolean).length;
  return (
    <Frame
      store={store}
      title={`${patches} pieces instead of one picture`}
      text="The picture is cut into patches that do not overlap. From here on this list is the input: a token has no information about other patches until attention mixes them."
      formula={<Formula>{`${config.imageShape.join(" × ")} = ${patches} \u00a0patches × ${config.patchShape.join(" × ")} \u00a0pixels`}</Formula>}
      rail={<DigitRail store={store} arcs={false}>
        <p class="readout">{tokenName(state.value.query, config)}{blank[state.value.query - config.numPrefixTokens] ? " is blank." : " is chosen."}</p>
      </DigitRail>}
    >
      <div class="sequence" style={{ "--rows": rows, "--columns": columns, "--slots": Math.ceil(patches / 2) }}>
        {Array.from({ length: patches }, (_, patch) => {
          const isOut = patch < player.at;
          const half = Math.ceil(patches / 2);
          const style = isOut
            ? { "--x": patch % half, "--y": Math.floor(patch / half) }
            : { "--x": patch % columns, "--y": Math.floor(patch / columns) };
          const isNow = patch === state.value.query - config.numPrefixTokens;
          return (
            <button
              type="button"
              key={patch}
              class={`piece ${isOut ? "out" : "in"} ${isNow ? "now" : ""} ${noisyPatches.includes(patch) ? "noisy" : ""}`}
              style={style}
              aria-label={`Patch ${patch + 1}${blank[patch] ? ", blank" : ""}${noisyPatches.includes(patch) ? ", with noise" : ""}`}
              aria-pressed={isNow}
              onClick={() => store.set({ query: patch + config.numPrefixTokens })}
            >
              <PatchCanvas pixels={cut.subarray(patch * length, (patch + 1) * length)} config={config} />
              <span class="number">{patch + 1}</span>
            </button>
          );
        })}
      </div>
      <Player player={player} label="Cut the picture" text={`${player.at} of ${patches}`} />
      {config.readsDigits && (
        <Question
          store={store}
          id="blank"
          text={`How many of the ${patches} patches are blank?`}
          options={["none", `1 to ${Math.floor(patches / 2)}`, `more than ${Math.floor(patches / 2)}`]}
          correct={numBlank === 0 ? 0 : numBlank <= patches / 2 ? 1 : 2}
          explain={() => `${numBlank} of ${patches} hold no ink. They take part in attention all the same.`}
        />
      )}
      <Try>
        <button type="button" onClick={() => store.set({ noisyPatches: toggled(noisyPatches, state.value.query - config.numPrefixTokens) })}>
          {noisyPatches.includes(state.value.query - config.numPrefixTokens) ? "Remove the noise from" : "Add noise to"} patch{" "}
          {state.value.query - config.numPrefixTokens + 1}
        </button>
        {noisyPatches.length > 0 && (
          <Slider label="Strength" min={0} max={1} step={0.05} value={noise} text={decimal(noise)} change={(value) => store.set({ noise: value })} />
        )}
        <Effect store={store} />
      </Try>
    </Frame>
  );
}

/** One patch, of all channels. */
function PatchCanvas({ pixels, config }: { pixels: Float64Array; config: Config }) {
  const [height, width] = config.patchShape;
  return (
    <NumberCanvas
      width={width}
      height={height}
      values={pixels.join()}
      colourAt={(i) => inkColour(pixels, i, { ...config, imageShape: config.patchShape })}
    />
  );
}

/** What a change did to the prediction. */
export function Effect({ store }: { store: Store }) {
  const { config, result, trained, changes } = store;
  const [now, before] = [result.value, trained.value];
  if (!now.run || !before.run || changes.value.length === 0) return null;
  const { best } = before.predictions[before.digit];
  const name = (prediction: { best: number }): string => config.classNames[prediction.best];
  const after = now.predictions[now.digit];
  return (
    <p class="effect">
      {after.best === best ? (
        <>
          The prediction stays <b>{name(after)}</b>: {percent(before.run.probabilities[best])} → {percent(now.run.probabilities[best])}.
        </>
      ) : (
        <>
          The prediction changes from <b>{name({ best })}</b> to <b>{name(after)}</b>, {percent(now.run.probabilities[after.best])}.
        </>
      )}
    </p>
  );
}

export function TokensStep({ store }: { store: Store }) {
  const { config, result, state, model } = store;
  const { run, ink } = result.value;
  const { query, positions, seed } = state.value;
  const { embedDim, numPrefixTokens, patches } = config;
  const patch = query - numPrefixTokens;
  const token = run && row(run.layers[0].input, query, embedDim);
  const content = run && (patch < 0 ? Float64Array.from(model.classToken ?? []) : row(run.patchTokens, patch, embedDim));
  const position = token && content && token.map((value, i) => value - content[i]);
  const domain = largestSize(token ?? [], content ?? []) || 1;
  const cut = cutPatches(ink, config);
  const length = cut.length / patches;
  const number = tokenShort(query, config);
  return (
    <Frame
      store={store}
      title="Each patch becomes a token"
      text="One matrix turns the pixels of a patch into a vector. A position vector is added, because attention itself does not depend on position. The sum is the token."
      formula={
        <Formula>
          {`*x_${number} = *W *p_${number} + *b ${config.posEmbed !== "none" && positions ? `+ *e_${number}` : ""} ,\u2003 ${length} → ${embedDim} \u00a0numbers`}
        </Formula>
      }
      rail={<DigitRail store={store} arcs={false}>
        <p class="readout">{tokenName(query, config)} is shown. Choose another one.</p>
      </DigitRail>}
    >
      {token && content && position && (
        <>
          <div class="strips">
            {patch >= 0 && (
              <div class="strip-row">
                <span>pixels of patch {patch + 1}</span>
                <NumberCanvas class="vector" width={length} height={1} values={ink}
                  colourAt={(i) => (config.inChannels === 1 ? inkColour(cut, patch * length + i, config) : GROUND.map((c) => c + (255 - c) * cut[patch * length + i]) as [number, number, number])} />
              </div>
            )}
            <VectorStrip name="W p + b" values={content} domain={domain} />
            <VectorStrip name="+ position" values={position} domain={domain} />
            <VectorStrip name="= token" values={token} domain={domain} class="total" />
          </div>
          <div class="row">
            <SignedScale domain={Number(domain.toFixed(1))} />
            <p class="small">Length of the token: ‖x‖ = {decimal(norm(token))}</p>
            <TableButton
              data={() => ({
                caption: `Token of ${tokenName(query, config)}`,
                columns: ["i", "W p + b", "position", "token"],
                rows: Array.from(token, (value, i) => [i + 1, decimal(content[i]), decimal(position[i]), decimal(value)]),
              })}
            />
          </div>
          {config.posEmbed !== "none" && (
            <>
              <Question
                store={store}
                id="shuffle"
                text="Without positions, the patches are put in another order. Does the prediction change?"
                options={["yes", "no"]}
                correct={1}
                explain={() => `Attention adds up over all patches, in whatever order. Try it: both switches, then look at the logits.`}
              />
              <Try>
                <Toggle on={positions} toggle={() => store.set({ positions: !positions })}>Positions</Toggle>
                <Toggle on={seed !== 0} toggle={() => store.set({ seed: seed === 0 ? 5 : 0 })}>Shuffle patches</Toggle>
                <ShuffleProof store={store} />
              </Try>
            </>
          )}
        </>
      )}
    </Frame>
  );
}

/** The largest change of a logit by the order of patches alone. */
function ShuffleProof({ store }: { store: Store }) {
  const state = store.state.value;
  const now = store.result.value.run;
  if (state.seed === 0 || !now) return <Effect store={store} />;
  const still = store.resultOf({ ...state, seed: 0 }).run;
  if (!still) return null;
  return (
    <p class="effect" data-number="shuffle">
      By the order alone, logits change by at most {scientific(largestDifference(now.logits, still.logits))}.
    </p>
  );
}

