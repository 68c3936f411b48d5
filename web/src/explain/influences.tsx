// Four measures of what the prediction depends on, side by side.

import { largestSize, roundDomain, signedColour, weightColour } from "../draw/colours";
import { isDense, tokenName } from "../draw/geometry";
import { decimal, percent, points, signed } from "../draw/numbers";
import { TableButton } from "../parts/controls";
import { MeasureMap } from "../parts/digitmap";
import { SignedScale } from "../parts/scale";
import { layoutOf, type Measure } from "./data";
import type { PartProps } from "./picture";

const MEASURES: Record<Measure, { title: string; note: string; unit: string }> = {
  rollout: {
    title: "Rollout",
    note: "Where information can have come from, through all layers and heads together. It uses neither values nor the class.",
    unit: "per cent",
  },
  relevance: { title: "Relevance", note: "Attention weighted by its gradient for the predicted class: what supported it, to first order.", unit: "per cent" },
  shapley: {
    title: "Shapley values",
    note: "The effect of the patch on the log-odds of the predicted class, averaged over all orders in which patches can replace black. Exact for up to 12 patches with ink. Blue: for the class.",
    unit: "log-odds",
  },
  masking: {
    title: "Masking",
    note: "Change of the predicted class’s probability when no token may attend to the patch, in any layer. Orange: it falls.",
    unit: "points",
  },
};

export function Influences({ data, ink, chosen, choose }: PartProps) {
  const { influence, reasons, correlations, grid } = data;
  const names = Object.keys(MEASURES) as Measure[];
  const layout = grid && layoutOf(data, { on_grid: true, keys: grid.prefix.length + grid.rows * grid.columns });
  const above = new Array<number>(grid?.prefix.length ?? 0).fill(0);
  /** Of all tokens; masking as a change, so that a fall is negative. */
  const valuesOf = (name: Measure): number[] | null => {
    const { values } = influence[name];
    if (name === "masking") return values && [...above, ...values.map((fall) => -fall)];
    return values && name === "shapley" ? [...above, ...values] : values;
  };
  const write: Record<Measure, (value: number) => string> = { rollout: percent, relevance: percent, shapley: signed, masking: points };
  const found = names.filter((name) => valuesOf(name));
  return (
    <section class="influence">
      <h2>What the prediction depends on</h2>
      <p class="lead">These measures have different meanings; only Shapley values are exact for the question they answer.</p>
      <div class="maps">
        {names.map((name) => {
          const { title, note, unit } = MEASURES[name];
          const values = valuesOf(name);
          if (!values || !layout) {
            return (
              <figure key={name} id={name}>
                <figcaption>
                  <b>{title}</b> <span class="small">{note}</span>
                </figcaption>
                <p class="small missing">Not available: {reasons[name]}.</p>
              </figure>
            );
          }
          const isSigned = name === "shapley" || name === "masking";
          const factor = name === "masking" ? 100 : 1; // points
          const domain = roundDomain(largestSize(values) * factor);
          return (
            <MeasureMap
              key={name}
              id={name}
              title={title}
              note={note}
              config={layout}
              ink={ink}
              address={ink || isDense(layout) ? undefined : data.address}
              blank={data.picture.blank}
              chosen={chosen.query < layout.tokens ? chosen.query : 0}
              values={values}
              signed={isSigned ? { text: write[name], colour: (value) => signedColour(value * factor, domain) } : undefined}
              colour={(share) => weightColour(share, chosen.scale, 1 / values.length, 1)}
              choose={(query) => choose({ query, key: null })}
            >
              {isSigned ? <SignedScale domain={domain} unit={` ${unit}`} /> : <p class="small">Per cent; uniform is {percent(1 / values.length)}. Colours as above.</p>}
            </MeasureMap>
          );
        })}
      </div>
      {correlations.length > 0 && (
        <p id="correlations">
          Spearman’s rank correlation over the patches, from −1 through 0 (unrelated) to 1:{" "}
          {correlations.map(([a, b, value]) => `${a} and ${b} ${decimal(value)}`).join(", ")}.
        </p>
      )}
      {layout && found.length > 0 && (
        <TableButton
          text="Table of these maps"
          caption="What the prediction depends on"
          columns={["token", ...found.map((name) => `${MEASURES[name].title}, ${MEASURES[name].unit}`)]}
          rows={() => Array.from({ length: layout.tokens }, (_, token) => [tokenName(token, layout), ...found.map((name) => write[name](valuesOf(name)![token]))])}
        />
      )}
    </section>
  );
}
