// Formulas with live numbers, in MathML.

import type { ComponentChildren } from "preact";

/** Text in the notation below, or an element. */
type Part = ComponentChildren;

/**
 * A formula from parts separated by spaces: numbers, operators and letters; `*x` is a vector, `x_1,2` has
 * a subscript, `x^2` an exponent, `√d` is a root, and `∑_i` a sum over i.
 */
export function Formula({ children }: { children: Part }) {
  return (
    <math display="block">
      <mrow>{parsed(children)}</mrow>
    </math>
  );
}

export function Frac({ top, bottom }: { top: Part; bottom: Part }) {
  return (
    <mfrac>
      <mrow>{parsed(top)}</mrow>
      <mrow>{parsed(bottom)}</mrow>
    </mfrac>
  );
}

/** A name of any letters as one part of a formula. */
export function named(text: string): string {
  return text.replace(/[\s_^,*√]/g, "\u00a0");
}

function parsed(part: Part): Part {
  if (Array.isArray(part)) return part.map(parsed);
  return typeof part === "string" ? part.split(" ").filter(Boolean).map(symbol) : part;
}

function symbol(text: string): ComponentChildren {
  const [base, power] = cut(text, "^");
  if (power) return <msup>{symbol(base)}<mrow>{symbol(power)}</mrow></msup>;
  const [name, below] = cut(text, "_");
  if (name === "∑") return <munder><mo>∑</mo><mrow>{symbol(below)}</mrow></munder>;
  if (below) return <msub>{symbol(name)}<mrow>{symbol(below)}</mrow></msub>;
  const [first, second] = cut(text, ",");
  if (first && second) return <>{symbol(first)}<mo>,</mo>{symbol(second)}</>;
  // Not <msqrt>: browsers leave out its sign where no font for mathematics is installed.
  if (text.length > 1 && text.startsWith("√")) return <mrow><mo class="root">√</mo><mrow class="radicand">{symbol(text.slice(1))}</mrow></mrow>;
  if (text.length > 1 && text.startsWith("*")) return <mi class="bold">{text.slice(1)}</mi>;
  if (/^[=+·×÷()[\]←→;]$/.test(text)) return <mo>{text}</mo>;
  return /^\p{L}+$/u.test(text) ? <mi>{text}</mi> : <mn>{text}</mn>;
}

/** The text before and after the first separator. */
function cut(text: string, separator: string): [string, string] {
  const place = text.indexOf(separator);
  return place < 0 ? [text, ""] : [text.slice(0, place), text.slice(place + 1)];
}
