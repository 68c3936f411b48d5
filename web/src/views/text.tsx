// Text: a sentence, and which word attends to which.

import type { Store } from "../state/store";

export function TextPage({ store }: { store: Store }) {
  return <h2 tabIndex={-1}>{store.state.value.sentence}</h2>;
}
