// One pair of a query and a key in words.

import type { ComponentChildren } from "preact";

import { multiple, percent } from "../draw/numbers";

interface Props {
  head: ComponentChildren; // "L3 H2"
  query: string;
  key_: string;
  weight: number;
  even: number; // the uniform weight
  verb?: ComponentChildren;
  uniform?: ComponentChildren;
}

/** "L3 H2 patch 11 attends to patch 15 with 89 %, 14× the uniform weight." */
export function Pair({ head, query, key_, weight, even, verb = "attends to", uniform = "uniform weight" }: Props) {
  return (
    <>
      <b>{head}</b> {query} {verb} {query === key_ ? "itself" : key_} with <b>{percent(weight)}</b>, {multiple(weight / even)} the {uniform}.
    </>
  );
}

/** The same for assistive technology: "patch 11 attends to patch 15: 89 percent, 14 times the uniform weight". */
export function pairLabel(query: string, key: string, weight: number, even: number): string {
  return `${query} attends to ${key}: ${percent(weight).replace("\u202f%", " percent")}, ${multiple(weight / even).replace("×", "")} times the uniform weight`;
}
