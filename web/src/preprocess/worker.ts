// Pictures are preprocessed in a worker, so that the page still reacts. The worker runs the page's own script.

import type { Model } from "../engine/vit";
import { opened, type Opened } from "./picture";

export const isWorker = typeof document === "undefined";
const script = isWorker ? "" : (document.currentScript?.textContent ?? "");

/** As `opened`; in this thread where the browser has no workers for a page on disk. */
export function openedInWorker(file: Blob, model: Model): Promise<Opened> {
  const address = URL.createObjectURL(new Blob([script], { type: "text/javascript" }));
  let worker: Worker;
  try {
    worker = new Worker(address);
  } catch {
    URL.revokeObjectURL(address);
    return opened(file, model);
  }
  return new Promise((resolve, reject) => {
    const end = (): void => {
      worker.terminate();
      URL.revokeObjectURL(address);
    };
    worker.onmessage = ({ data }: MessageEvent<Opened | null>) => {
      end();
      if (data) resolve(data);
      else reject(new Error("this file cannot be decoded"));
    };
    worker.onerror = () => {
      end();
      opened(file, model).then(resolve, reject);
    };
    worker.postMessage({ file, model });
  });
}

/** Waits for files and models. */
export function work(): void {
  addEventListener("message", ({ data: { file, model } }: MessageEvent<{ file: Blob; model: Model }>) => {
    opened(file, model).then(
      (result) => postMessage(result),
      () => postMessage(null),
    );
  });
}
