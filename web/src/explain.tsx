// The page of an explanation: reads its data and shows a picture or a text.

import { render } from "preact";

import { readWeights, type PictureData, type TextData } from "./explain/data";
import { PictureReport } from "./explain/picture";
import { TextReport } from "./explain/report";
import "./style/base.css";
import "./style/layout.css";
import "./style/parts.css";
import "./style/report.css";

const text = (id: string): string => document.getElementById(id)?.textContent ?? "";
const app = document.getElementById("app") as HTMLElement;
const address = app.querySelector("img")?.src ?? "";
const data: PictureData | TextData = { ...JSON.parse(text("data")), address };
app.replaceChildren(); // what is shown without scripts
render(data.kind === "text" ? <TextReport data={data} /> : <PictureReport data={data} weights={readWeights(text("weights"))} />, app);
