// Formulas with live numbers, in MathML.

import type { ComponentChildren } from "preact";

export function Formula({ label, children }: { label?: string; children: ComponentChildren }) {
  return (
    <math display="block" aria-label={label}>
      <mrow>{children}</mrow>
    </math>
  );
}

/** A number, or a name of several letters. */
export function N({ children }: { children: ComponentChildren }) {
  return <mn>{children}</mn>;
}

export function V({ children, bold }: { children: ComponentChildren; bold?: boolean }) {
  return <mi class={bold ? "vector" : undefined}>{children}</mi>;
}

export function O({ children }: { children: ComponentChildren }) {
  return <mo>{children}</mo>;
}

export function Sub({ children, of, bold }: { children: ComponentChildren; of: string; bold?: boolean }) {
  return (
    <msub>
      <mi class={bold ? "vector" : undefined}>{of}</mi>
      <mrow>{children}</mrow>
    </msub>
  );
}

export function Power({ base, children }: { base: ComponentChildren; children: ComponentChildren }) {
  return (
    <msup>
      <mrow>{base}</mrow>
      <mrow>{children}</mrow>
    </msup>
  );
}

export function Frac({ top, bottom }: { top: ComponentChildren; bottom: ComponentChildren }) {
  return (
    <mfrac>
      <mrow>{top}</mrow>
      <mrow>{bottom}</mrow>
    </mfrac>
  );
}

export function Root({ children }: { children: ComponentChildren }) {
  return <msqrt>{children}</msqrt>;
}

export function Sum({ over }: { over: ComponentChildren }) {
  return (
    <munder>
      <mo>∑</mo>
      <mrow>{over}</mrow>
    </munder>
  );
}
