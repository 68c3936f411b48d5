// Canvases whose pixels are numbers: model inputs, matrices and vectors.

import { useLayoutEffect, useRef } from "preact/hooks";

import { signedColour, type Colour } from "./colours";
import type { Layout } from "./geometry";

interface Props {
  width: number; // in numbers
  height: number;
  colourAt: (i: number) => readonly number[]; // a Colour, with its opacity if it is not opaque
  values: unknown; // a change of this draws the canvas again
  class?: string;
  label?: string; // without one, the canvas is hidden from assistive technology
  lazy?: boolean; // whether it may be drawn in a later frame
}

/** One canvas pixel for each number, row by row. */
export function NumberCanvas({ width, height, colourAt, values, label, lazy, class: name = "" }: Props) {
  const ref = useRef<HTMLCanvasElement>(null);
  const image = useRef<ImageData | null>(null);
  useLayoutEffect(() => {
    const context = ref.current?.getContext("2d");
    if (!context) return undefined;
    const draw = (): void => {
      if (image.current?.width !== width || image.current.height !== height) image.current = new ImageData(width, height);
      const { data } = image.current;
      for (let i = 0, at = 0; i < width * height; i++, at += 4) {
        const colour = colourAt(i);
        data[at] = colour[0];
        data[at + 1] = colour[1];
        data[at + 2] = colour[2];
        data[at + 3] = colour.length > 3 ? colour[3] : 255;
      }
      context.putImageData(image.current, 0, 0);
    };
    return lazy ? soon(draw) : draw();
  }, [values, width, height]);
  const named = label ? ({ role: "img", "aria-label": label } as const) : ({ "aria-hidden": true } as const);
  return <canvas ref={ref} width={width} height={height} class={`numbers ${name}`} {...named} />;
}

const waiting = new Set<() => void>();
const BUDGET = 4; // milliseconds of each frame for canvases that can wait

/** Draws in one of the next frames, after canvases that wait already. Returns a stop. */
function soon(draw: () => void): () => void {
  if (waiting.size === 0) requestAnimationFrame(drawWaiting);
  waiting.add(draw);
  return () => waiting.delete(draw);
}

function drawWaiting(): void {
  const start = performance.now();
  for (const draw of waiting) {
    waiting.delete(draw);
    draw();
    if (performance.now() - start > BUDGET) break;
  }
  if (waiting.size > 0) requestAnimationFrame(drawWaiting);
}

/** A model input: light ink on a dark ground as in training, or the picture in its colours. */
export function InkCanvas({ ink, config, ...props }: { ink: Float64Array; config: Layout } & Partial<Props>) {
  const [height, width] = config.imageShape;
  return <NumberCanvas values={ink} {...props} width={width} height={height} colourAt={(i) => inkColour(ink, i, config)} />;
}

interface TintedProps {
  config: Layout;
  ink?: Float64Array | null;
  colours: Colour[]; // of all tokens
  prefix?: boolean; // whether tokens before the patches are drawn, in a line above them
}

const EDGE = 0.7; // how much darker the colour is beside ink

/** A colour for every patch, with white ink above it; beside ink the colour is darker, so that ink stands out from light ones. */
export function TintedCanvas({ config, ink, colours, prefix }: TintedProps) {
  const { grid: [rows, columns], imageShape, numPrefixTokens } = config;
  const unit = prefix ? 4 : 1; // pixels of a patch without ink, so that a line above can be lower
  const [height, width] = ink ? imageShape : [rows * unit, columns * unit];
  const line = prefix && numPrefixTokens ? Math.ceil(height / rows / 2) : 0;
  const size = { width, height: line + height };
  return (
    <>
      <NumberCanvas
        {...size}
        class="tints"
        values={colours}
        colourAt={(place) => {
          const i = place - line * width;
          if (i < -width) return colours[Math.floor(((place % width) * numPrefixTokens) / width)];
          if (i < 0) return GROUND;
          const patch = Math.floor((Math.floor(i / width) * rows) / height) * columns + Math.floor(((i % width) * columns) / width);
          return colours[numPrefixTokens + patch] ?? GROUND;
        }}
      />
      {ink && (
        <NumberCanvas
          {...size}
          values={ink}
          colourAt={(place) => {
            const i = place - line * width;
            if (i < 0) return [0, 0, 0, 0];
            let near = 0; // the most ink of the pixel and its neighbours
            for (let y = Math.max(0, Math.floor(i / width) - 1); y <= Math.min(height - 1, Math.floor(i / width) + 1); y++) {
              for (let x = Math.max(0, (i % width) - 1); x <= Math.min(width - 1, (i % width) + 1); x++) near = Math.max(near, ink[y * width + x]);
            }
            const opacity = 1 - (1 - EDGE * near) * (1 - ink[i]);
            const grey = Math.round((255 * ink[i]) / (opacity || 1));
            return [grey, grey, grey, Math.round(255 * opacity)];
          }}
        />
      )}
    </>
  );
}

/** The ground is not quite black, so that a slide stands out on a dark page. */
export function inkColour(ink: Float64Array, i: number, { inChannels, imageShape }: Layout): Colour {
  const plane = imageShape[0] * imageShape[1];
  if (inChannels >= 3) return [0, 1, 2].map((channel) => Math.round(255 * ink[channel * plane + i])) as Colour;
  return GREYS[Math.round(255 * ink[i])];
}

export const GROUND: Colour = [13, 17, 23];
const GREYS = Array.from({ length: 256 }, (_, i) => GROUND.map((c) => Math.round(c + ((255 - c) * i) / 255)) as Colour);

/** A vector as one line of signed colours. */
export function VectorCanvas({ values, domain, label }: { values: ArrayLike<number>; domain: number; label?: string }) {
  return <NumberCanvas class="vector" label={label} width={values.length} height={1} values={values} colourAt={(i) => signedColour(values[i], domain)} />;
}
