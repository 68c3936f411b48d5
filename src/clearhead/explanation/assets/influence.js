// Three answers to "what mattered", side by side.

/** All tokens of the grid, as a layer that attends over all of them would have them. */
const everyToken = facts.grid && {
  onGrid: true,
  keys: facts.grid.prefix.length + facts.grid.rows * facts.grid.columns,
};

function renderInfluence() {
  for (const name of ["rollout", "relevance"]) {
    const canvas = element(`${name}-map`);
    if (!canvas) continue;
    const { values } = facts.influence[name];
    const even = 1 / values.length;
    drawMap(canvas, everyToken, values.map(shareColour(even)), INFLUENCE_WIDTH);
    drawBar(element(`${name}-bar`), scaleBar(even, "even", [0, 0.01, 0.1, 0.25, 0.5, 1]));
  }
  renderSilencing();
}

function renderSilencing() {
  const canvas = element("silencing-map");
  if (!canvas) return;
  const { values, most } = facts.influence.silencing;
  const colours = values.map((fall) => signedColour(most ? fall / most : 0));
  const prefix = facts.grid.prefix.map(() => null);
  drawMap(canvas, everyToken, [...prefix, ...colours], INFLUENCE_WIDTH);
  drawBar(element("silencing-bar"), {
    colour: (place) => signedColour(2 * place - 1),
    marks: [
      [0, points(-most)],
      [0.5, "0"],
      [1, points(most)],
    ],
  });
}
