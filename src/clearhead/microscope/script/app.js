import { readPayload } from "./payload.js";
import { readConfig } from "./config.js";
import { readTensors } from "./weights.js";
import { buildModel, forward, lens } from "./model.js";
import { rasterise } from "./raster.js";
import { normalize } from "./pixels.js";
import { trainedSwitches } from "./experiments.js";

const payload = readPayload(document);
const config = readConfig(payload.settings);
const model = buildModel(config, readTensors(payload.weights, payload.tensors));
Object.assign(globalThis, { clearhead: { payload, config, model, forward, lens, rasterise, normalize, trainedSwitches } });
