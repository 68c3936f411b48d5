// The head of the page: title, tabs, tools, and badges of all changes.

import { el, fill, setAttribute, setText } from "../element.js";
import { saveCsv, savePng, saveSvg } from "../save.js";
import { TABS, THEMES, trainedState } from "../state.js";
import { STRINGS } from "../strings.js";
import { predictionWords } from "./prediction.js";
import { changesOf } from "./experiments.js";
import { createLive } from "./live.js";
import { pictureOf } from "./pictures.js";
import { moveBetween } from "./roving.js";
import { intoView } from "./scroll.js";

/** @typedef {import("../store.js").App} App */

/** @param {App} app */
export function createHeader(app) {
  /** @param {import("../state.js").Tab} tab */
  const open = (tab) => {
    app.set({ tab });
    const view = document.getElementById("view");
    if (view) intoView(view);
  };
  const tabs = TABS.map((tab) =>
    el(
      "button",
      { type: "button", role: "tab", id: `tab-${tab}`, "aria-controls": "view", on: { click: () => open(tab) } },
      STRINGS.tabs[tab],
    ),
  );
  const list = el("div", { class: "tabs", role: "tablist", "aria-label": STRINGS.tabList }, ...tabs);
  moveBetween(list, tabs, (i) => app.set({ tab: TABS[i] }));
  const tools = createTools(app);
  const element = el("header", { class: "top" }, el("h1", {}, STRINGS.title), list, tools.element);
  return {
    element,
    update: () => {
      TABS.forEach((tab, i) => {
        setAttribute(tabs[i], "aria-selected", tab === app.state.tab);
        setAttribute(tabs[i], "tabindex", tab === app.state.tab ? 0 : -1);
      });
      tools.update();
    },
  };
}

/** @param {App} app */
function createTools(app) {
  const theme = el("button", {
    type: "button",
    on: {
      click: () => {
        const next = (THEMES.indexOf(app.state.theme) + 1) % THEMES.length;
        app.set({ theme: THEMES[next] });
      },
    },
  });
  const savers = /** @type {const} */ ([
    [STRINGS.tools.svg, saveSvg],
    [STRINGS.tools.png, savePng],
    [STRINGS.tools.csv, saveCsv],
  ]);
  const buttons = savers.map(([name, save]) =>
    el(
      "button",
      {
        type: "button",
        on: {
          click: async () => {
            const picture = pictureOf(app);
            app.announce(picture ? STRINGS.tools.saved(await save(picture)) : nothingToSave(app));
          },
        },
      },
      name,
    ),
  );
  const link = el("button", { type: "button", on: { click: () => copyLink(app) } }, STRINGS.tools.link);
  const saving = el("div", { class: "tool-group", role: "group", "aria-label": STRINGS.tools.exportLabel }, ...buttons);
  const element = el("div", { class: "tools", role: "group", "aria-label": STRINGS.tools.label }, theme, saving, link);
  return {
    element,
    update: () => {
      setText(theme, STRINGS.tools.theme[app.state.theme]);
      setAttribute(document.documentElement, "data-theme", app.state.theme);
    },
  };
}

/** @param {App} app */
function nothingToSave({ state, result }) {
  const { nothing, nothingInAbout, nothingInStep } = STRINGS.tools;
  if (result.run === null) return nothing;
  return state.tab === "about" ? nothingInAbout : nothingInStep;
}

/** @param {App} app */
async function copyLink(app) {
  try {
    await navigator.clipboard.writeText(app.link());
    app.announce(STRINGS.tools.copied);
  } catch {
    app.announce(STRINGS.tools.notCopied);
  }
}

/** Badges, the warning of a failed check, and the live region. @param {App} app */
export function createNotices(app) {
  const badges = el("div", { class: "badges" });
  badges.hidden = true;
  const failed = el("p", { class: "failed", role: "alert" });
  const live = createLive(2);
  const prediction = el("span", {});
  const strip = el("div", { class: "strip-prediction", "aria-hidden": "true" }, prediction, live.copies[0]);
  const line = el("div", { class: "notice-line" }, badges, live.copies[1]);
  const element = el("div", { class: "notices" }, failed, line, live.element);
  let shown = "";
  let announced = "";
  app.announce = live.announce;
  return {
    element,
    strip,
    update: () => {
      const changes = changesOf(app);
      setText(failed, app.examples.failed ? STRINGS.failed : "");
      failed.hidden = !app.examples.failed;
      const words = predictionWords(app.result, app.config);
      setText(prediction, words);
      if (!app.drawing && words !== announced) {
        announced = words;
        app.announce(words, "prediction");
      }
      if (changes.join() === shown) return;
      shown = changes.join();
      badges.hidden = changes.length === 0;
      fill(badges, ...badgeElements(app, changes));
    },
  };
}

/**
 * @param {App} app
 * @param {string[]} changes
 */
function badgeElements(app, changes) {
  const { label, end, reset, done } = STRINGS.modified;
  const button = el(
    "button",
    {
      type: "button",
      on: {
        click: () => {
          app.startOver();
          app.set({ ...trainedState(), centred: true });
          app.announce(done);
          document.getElementById(`tab-${app.state.tab}`)?.focus();
        },
      },
    },
    reset,
  );
  return [
    el("b", {}, `${label}:`),
    button,
    ...changes.map((change) => el("span", { class: "badge" }, change)),
    el("span", { class: "badge-end" }, end),
  ];
}
