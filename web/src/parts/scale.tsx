// Weights in figures: their colour scales, and one pair of a query and a key in words.

import type { ComponentChildren } from "preact";

import { css, MAX_MULTIPLE, shareColour, signedColour, weightColour, type Colour, type ScaleMode } from "../draw/colours";
import { decimal, exactPercent, multiple, percent } from "../draw/numbers";
import { Choice } from "./controls";

const STEPS = 32;

interface Props {
  label: string;
  colourAt: (place: number) => Colour; // place from 0 to 1
  marks: { place: number; text: string }[];
  note?: string;
  kind?: "warning" | "signed"; // a warning if colours differ from picture to picture
}

function Scale({ label, colourAt, marks, note, kind }: Props) {
  const stops = Array.from({ length: STEPS + 1 }, (_, i) => css(colourAt(i / STEPS)));
  return (
    <div class={`scale ${kind ?? ""}`} role="img" aria-label={`${label}${note ? `; ${note}` : ""}`}>
      <span class="ramp" style={{ background: `linear-gradient(to right, ${stops.join()})` }} />
      <span class="marks">
        {marks.map(({ place, text }) => (
          <span key={text} style={{ "--at": place }}>{text}</span>
        ))}
      </span>
      {note && <span class="note">{note}</span>}
    </div>
  );
}

/** The scale of weights; `even` is 1 / number of keys, `largest` the largest weight shown. */
export function WeightScale({ mode, even, largest }: { mode: ScaleMode; even: number; largest: number }) {
  if (mode === "even") {
    const colourAt = (place: number): Colour => weightColour(even * MAX_MULTIPLE ** (2 * place - 1), "even", even, 1);
    const marks = ["1/16×", "1/4×", "1×", "4×", "16×"].map((text, i) => ({ place: i / 4, text }));
    return <Scale label="Multiples of the uniform weight" colourAt={colourAt} marks={marks} note={`1× = ${exactPercent(even)}`} />;
  }
  const isStretched = mode === "stretched" && largest > 0;
  const top = isStretched ? largest : 1;
  const marks = [0, 0.25, 1].map((part) => ({ place: Math.sqrt(part), text: percent(part * top) }));
  if (even < top) marks.push({ place: Math.sqrt(even / top), text: "▲" });
  const note = `▲ uniform weight ${exactPercent(even)}${isStretched ? `. Stretched: brightest is ${percent(largest)}` : ""}`;
  return <Scale label="Weights from 0 to 100 %" colourAt={(place) => shareColour(place * place)} marks={marks} note={note} kind={isStretched ? "warning" : undefined} />;
}

const MODES: Record<ScaleMode, string> = { fixed: "0–100 %", even: "× uniform", stretched: "Stretched" };

export function ScaleChoice({ modes, mode, choose }: { modes: readonly ScaleMode[]; mode: ScaleMode; choose: (mode: ScaleMode) => void }) {
  return <Choice label="Scale" hideLabel options={modes.map((value) => ({ value, text: MODES[value] }))} value={mode} choose={choose} />;
}

/** The scale of signed numbers from -domain to domain. */
export function SignedScale({ domain, unit = "" }: { domain: number; unit?: string }) {
  const digits = domain < 1 ? 1 : 0;
  const marks = [-domain, 0, domain].map((value, i) => ({ place: i / 2, text: decimal(value, digits) + unit }));
  return <Scale kind="signed" label={`From ${decimal(-domain, digits)} (orange) to ${decimal(domain, digits)} (blue)${unit}`} colourAt={(place) => signedColour(2 * place - 1, 1)} marks={marks} />;
}

interface PairProps {
  head: ComponentChildren; // "L3 H2"
  query: string;
  key_: string;
  weight: number;
  even: number; // the uniform weight
  verb?: ComponentChildren;
  uniform?: ComponentChildren;
}

/** "L3 H2: patch 11 attends to patch 15 with 89 %, 14× the uniform weight." */
export function Pair({ head, query, key_, weight, even, verb = "attends to", uniform = "uniform weight" }: PairProps) {
  return (
    <>
      <b>{head}:</b> {query} {verb} {query === key_ ? "itself" : key_} with <b>{percent(weight)}</b>, {multiple(weight / even)} the {uniform}.
    </>
  );
}

/** The same for assistive technology: "patch 11 attends to patch 15: 89 percent, 14 times the uniform weight". */
export function pairLabel(query: string, key: string, weight: number, even: number): string {
  return `${query} attends to ${key}: ${percent(weight).replace("\u202f%", " percent")}, ${multiple(weight / even).replace("×", "")} times the uniform weight`;
}
