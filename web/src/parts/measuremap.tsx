// One number for each patch, over the picture.

import { shareColour, type Colour } from "../draw/colours";
import { tokenName, type Layout } from "../draw/geometry";
import { decimal } from "../draw/numbers";
import type { ComponentChildren } from "preact";
import { DigitMap } from "./digitmap";

interface Props {
  id?: string;
  title: string;
  note: string;
  config: Layout;
  ink?: Float64Array | null;
  address?: string;
  blank: boolean[];
  chosen: number;
  values: ArrayLike<number>; // of all tokens
  signed?: { text: (value: number) => string; colour: (value: number) => Colour }; // by default, shares of 100 %
  colour?: (share: number) => Colour; // of a share
  choose: (token: number) => void;
  children?: ComponentChildren;
}

export function MeasureMap({ id, title, note, config, values, signed, colour = shareColour, children, ...others }: Props) {
  const written = (token: number): string => (signed ? signed.text(values[token]) : decimal(values[token] * 100, 0));
  return (
    <figure id={id}>
      <figcaption>
        <b>{title}</b> <span class="small">{note}</span>
      </figcaption>
      <DigitMap
        {...others}
        label={title}
        config={config}
        values={written}
        tint={(token) => (signed?.colour ?? colour)(values[token])}
        nameAt={(token) => `${tokenName(token, config)}: ${written(token)}${signed ? "" : " percent"}`}
      />
      {children}
    </figure>
  );
}
