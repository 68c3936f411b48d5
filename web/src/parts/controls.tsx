// Controls: choices, switches, sliders, a player of steps, and the table behind a figure.

import { useEffect, useId, useLayoutEffect, useRef, useState } from "preact/hooks";
import type { ComponentChildren } from "preact";

interface Option<T> {
  value: T;
  text: string;
  name?: string; // for assistive technology
}

interface ChoiceProps<T> {
  label: string;
  options: readonly (T | Option<T>)[]; // a plain value is its own text
  value: T;
  choose: (value: T) => void;
  hideLabel?: boolean;
}

/** One of several values: a group of radio buttons that looks like one control. */
export function Choice<T extends string | number>({ label, options, value, choose, hideLabel }: ChoiceProps<T>) {
  const name = useId();
  return (
    <div class="labelled">
      {!hideLabel && <span class="label" aria-hidden="true">{label}</span>}
      <div class="choice" role="radiogroup" aria-label={label}>
        {options.map((one) => {
          const option: Option<T> = typeof one === "object" ? one : { value: one, text: String(one) };
          return (
            <label key={option.value} class="button">
              <input type="radio" name={name} checked={option.value === value} aria-label={option.name} onChange={() => choose(option.value)} />
              {option.text}
            </label>
          );
        })}
      </div>
    </div>
  );
}

export function Toggle(props: { on: boolean; children: ComponentChildren; toggle: () => void }) {
  return (
    <button type="button" role="switch" aria-checked={props.on} class="toggle" onClick={props.toggle}>
      <span class="knob" aria-hidden="true" />
      <span>{props.children}</span>
    </button>
  );
}

interface SliderProps {
  label: string;
  min: number;
  max: number;
  step: number;
  value: number;
  text?: string; // the value as it is written
  change: (value: number) => void;
}

export function Slider({ label, min, max, step, value, text, change }: SliderProps) {
  return (
    <label class="slider">
      <span class="label">{label}</span>
      <input
        type="range"
        min={min}
        max={max}
        step={step}
        value={value}
        aria-valuetext={text}
        onInput={(event) => change(Number(event.currentTarget.value))}
      />
      <output>{text ?? value}</output>
    </label>
  );
}

type Playing = ReturnType<typeof usePlayer>;

/** The steps of an animation, of which `rest` are done at first and after a change of `on`. */
export function usePlayer(last: number, on: unknown[], interval: number, rest = last) {
  const [at, setAt] = useState(rest); // steps done
  const [playing, setPlaying] = useState(false);
  const set = (to: number, isPlaying = false): void => {
    setAt(Math.max(0, Math.min(last, to)));
    setPlaying(isPlaying && to < last);
  };
  useLayoutEffect(() => set(rest), [last, ...on]);
  useEffect(() => {
    if (!playing) return undefined;
    const timer = setTimeout(() => set(at + 1, true), interval);
    return () => clearTimeout(timer);
  }, [playing, at, last]);
  return { at: Math.min(at, last), last, playing, set, play: () => set(playing || at < last ? at : 0, !playing) };
}

/** Play, step back and forth, and a slider through the steps. */
export function Player({ player, label, text }: { player: Playing; label: string; text: string }) {
  return (
    <div class="player" role="group" aria-label={label}>
      <button type="button" class="primary round" aria-label={player.playing ? "Pause" : `Play: ${label}`} onClick={player.play}>
        <span aria-hidden="true">{player.playing ? "❚❚" : "▶"}</span>
      </button>
      <button type="button" class="round" aria-label="One step back" disabled={player.at === 0} onClick={() => player.set(player.at - 1)}>
        <span aria-hidden="true">‹</span>
      </button>
      <button type="button" class="round" aria-label="One step on" disabled={player.at === player.last} onClick={() => player.set(player.at + 1)}>
        <span aria-hidden="true">›</span>
      </button>
      <input
        type="range"
        min={0}
        max={player.last}
        value={player.at}
        aria-label={`${label}: step`}
        aria-valuetext={text}
        onInput={(event) => player.set(Number(event.currentTarget.value))}
      />
      <span class="player-text" aria-hidden="true">{text}</span>
    </div>
  );
}

type Rows = (string | number)[][];

export interface TableData {
  caption: string;
  columns: string[];
  rows: Rows | (() => Rows);
}

export function Table({ caption, columns, rows }: TableData) {
  return (
    <table class="data">
      <caption>{caption}</caption>
      <thead>
        <tr>
          {columns.map((column, i) => (
            <th scope="col" key={i}>{column}</th>
          ))}
        </tr>
      </thead>
      <tbody>
        {(typeof rows === "function" ? rows() : rows).map((row, i) => (
          <tr key={i}>
            {row.map((value, j) => (j === 0 ? <th scope="row" key={j}>{value}</th> : <td key={j}>{value}</td>))}
          </tr>
        ))}
      </tbody>
    </table>
  );
}

/** A button that opens the numbers of a figure as a table. */
export function TableButton({ text = "Table", ...table }: TableData & { text?: string }) {
  const [isOpen, setOpen] = useState(false);
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    if (isOpen) dialog.current?.showModal();
  }, [isOpen]);
  return (
    <>
      <button type="button" class="quiet" onClick={() => setOpen(true)}>
        {text}
      </button>
      {isOpen && (
        <dialog ref={dialog} class="sheet" aria-label={table.caption} onClose={() => setOpen(false)}>
          <form method="dialog">
            <button type="submit" class="close" aria-label="Close the table">✕</button>
          </form>
          <div class="scroll" tabIndex={0} role="region" aria-label={table.caption}>
            <Table {...table} />
          </div>
        </dialog>
      )}
    </>
  );
}
