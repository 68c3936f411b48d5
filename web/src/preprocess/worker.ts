// Pictures are preprocessed in a worker, so that the page reacts meanwhile. The worker runs the page's own script.

import type { Model } from "../engine/vit";
import { inputsOfFile, type Input } from "./picture";

export const isWorker = typeof document === "undefined";
const script = isWorker ? "" : (document.currentScript?.textContent ?? "");

/** As `inputsOfFile`; in this thread where the browser has no workers for a page on disk. */
export function inputsFromWorker(file: Blob, model: Model): Promise<Input[]> {
  return new Promise((resolve, reject) => {
    const address = URL.createObjectURL(new Blob([script], { type: "text/javascript" }));
    const worker = new Worker(address);
    const end = (): void => {
      worker.terminate();
      URL.revokeObjectURL(address);
    };
    worker.onmessage = ({ data }: MessageEvent<Input[] | null>) => {
      end();
      if (data) resolve(data);
      else reject(new Error("this file cannot be decoded"));
    };
    worker.onerror = () => {
      end();
      inputsOfFile(file, model).then(resolve, reject);
    };
    worker.postMessage({ file, model });
  });
}

/** Waits for files and models. */
export function work(): void {
  addEventListener("message", ({ data: { file, model } }: MessageEvent<{ file: Blob; model: Model }>) => {
    inputsOfFile(file, model).then(
      (inputs) => postMessage(inputs),
      () => postMessage(null),
    );
  });
}
