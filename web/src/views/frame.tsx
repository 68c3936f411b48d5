// The frame of a step: title, one or two sentences, the way on, the digit, and the step's content.

import type { ComponentChildren, ComponentProps } from "preact";
import { useEffect, useRef } from "preact/hooks";

import { headName, tokenName, type Arc } from "../draw/geometry";
import { percent } from "../draw/numbers";
import { argmax, row } from "../engine/arithmetic";
import { labelOf, type Prediction } from "../engine/predict";
import { Choice, Player, TableButton, type TableData } from "../parts/controls";
import { DigitMap } from "../parts/digitmap";
import { sentenceOf } from "../parts/prediction";
import { Pair, SignedScale } from "../parts/scale";
import { Term } from "../parts/term";
import { noPredictionText } from "../state/opened";
import { STEP_NAMES, STEPS } from "../state/state";
import { chosenHead, neighbour, shownPair, store } from "../state/store";

interface FrameProps {
  title: string;
  text: ComponentChildren;
  formula?: ComponentChildren;
  rail?: ComponentChildren; // instead of the digit
  readout?: ComponentChildren; // below the digit, instead of arcs and what they show
  player?: ComponentProps<typeof Player>; // these four in a row below the step's picture
  domain?: number; // of signed colours, for their scale
  note?: ComponentChildren;
  table?: TableData;
  question?: QuestionProps | false;
  trial?: ComponentChildren; // an experiment, with its control
  children: ComponentChildren; // the picture
}

/** A step: what it says, its picture with controls, a question, and an experiment. */
export function Frame({ title, text, formula, readout, player, domain, note, table, question, trial, children, ...props }: FrameProps) {
  const { step } = store.state.value;
  const hiding = question && question.hides ? question : undefined; // comes before the picture
  const asked = question && <Question {...question} />;
  const { rail = <DigitRail readout={readout} question={hiding} /> } = props;
  return (
    <>
      <div class="step-head">
        <p class="place">{STEPS.indexOf(step) + 1} of {STEPS.length}</p>
        <h2 tabIndex={-1}>{title}</h2>
        <WayOn />
        <p class="lead">{text}</p>
        {formula && store.result.value.run && <div class="formula">{formula}</div>}
      </div>
      {store.result.value.run ? (
        <div class="step-body">
          <div class="rail">{rail}</div>
          <div class="content">
            {hiding && asked}
            {children}
            {(player || table) && (
              <div class="row">
                {player && <Player {...player} />}
                {domain && <SignedScale domain={Number(domain.toFixed(1))} />}
                {note && <p class="small">{note}</p>}
                {table && <TableButton {...table} />}
              </div>
            )}
            {!hiding && asked}
            {trial && <Try>{trial}</Try>}
          </div>
        </div>
      ) : (
        <NoPicture />
      )}
    </>
  );
}

export function WayOn() {
  const { step } = store.calm.value.state;
  const [back, next] = [neighbour(step, -1), neighbour(step, 1)];
  return (
    <div class="way">
      <span class="keys small" aria-hidden="true">Keys: ← →</span>
      {back && (
        <button type="button" class="back" aria-keyshortcuts="ArrowLeft" onClick={() => store.go(back, -1)}>
          <span aria-hidden="true">← </span>Back
        </button>
      )}
      {next && (
        <button type="button" class="primary" aria-keyshortcuts="ArrowRight" onClick={() => store.go(next, 1)}>
          Next: {STEP_NAMES[next]}<span aria-hidden="true"> →</span>
        </button>
      )}
    </div>
  );
}

/** Instead of the content of a step, which needs a picture. */
function NoPicture() {
  const { strokes, images } = store.first;
  return (
    <div class="nothing">
      <p>{noPredictionText(store.state.value, store.picture.value)}</p>
      {strokes.length + images.length > 0 && (
        <button type="button" class="primary" onClick={() => store.set({ strokes, images, digit: 0 })}>Use the example</button>
      )}{" "}
      <button type="button" onClick={() => store.go("draw")}>{store.config.readsDigits ? "Draw a digit" : "Choose a picture"}</button>
    </div>
  );
}

interface RailProps {
  question?: QuestionProps; // before the result is shown; one without options is answered on the digit
  readout?: ComponentChildren; // instead of arcs and what they show
  lines?: Arc[]; // with a readout: other lines
  flows?: number;
}

/** The digit with arcs from the query patch, and a readout that follows pointer and keyboard. */
export function DigitRail({ question, readout, lines, flows }: RailProps) {
  const { config, result, state, hover } = store;
  const { query: chosen, attendedBy } = state.value;
  const pair = railPair();
  const [start, end] = attendedBy ? [pair.key, pair.query] : [pair.query, pair.key];
  const head = readout === undefined ? chosenHead() : null;
  const isHidden = question !== undefined && isOpen(question.id);
  const isAsking = isHidden && !question.options;
  const isShown = head && !isRemoved();
  const marked = readout && !lines ? chosen : null; // without arcs
  return (
    <>
      <DigitMap
        label={isAsking ? "Patches: choose your answer" : "Patches: choose the query"}
        class={isAsking ? "asking" : ""}
        config={config}
        ink={result.value.ink}
        blank={result.value.blank}
        chosen={chosen}
        query={head ? start : marked}
        key_={isShown && (!isHidden || hover.value.key !== undefined) ? end : null}
        weights={isShown && !isHidden ? (attendedBy ? column : row)(head.weights, start, config.tokens) : null}
        lines={lines}
        flows={flows}
        nameAt={(token) => patchLabel(token, isAsking)}
        choose={(token) => {
          if (isAsking) store.guess(question.id, token);
          else store.set({ query: token, key: strongest(token) });
        }}
        hover={(token) => {
          if (token === null || readout !== undefined) hover.value = {};
          else hover.value = attendedBy ? { query: token, key: chosen } : { query: chosen, key: token };
        }}
      />
      {readout === undefined ? <Readout hidden={isHidden} /> : readout && <p class="readout">{readout}</p>}
      {readout === undefined && !isHidden && (
        <Choice
          label="Direction of the lines"
          hideLabel
          options={[{ value: 0, text: "attends to" }, { value: 1, text: "is attended to by" }]}
          value={Number(attendedBy)}
          choose={(value) => store.set({ attendedBy: value === 1 })}
        />
      )}
    </>
  );
}

function patchLabel(token: number, isAsking: boolean): string {
  const { config, result, state } = store;
  const name = tokenName(token, config) + (result.value.blank[token - config.numPrefixTokens] ? ", blank" : "");
  const head = chosenHead();
  const { query, attendedBy } = state.value;
  if (isAsking || !head) return name;
  if (token === query) return `${name}, query`;
  const weight = head.weights[attendedBy ? token * config.tokens + query : query * config.tokens + token];
  const share = percent(weight).replace("\u202f%", " percent");
  return attendedBy ? `${name}, attends to it with ${share}` : `${name}, gets ${share} of the attention`;
}

/** Whether the chosen head is removed. */
function isRemoved(): boolean {
  const { layer, head, removed } = store.state.value;
  return removed.includes(layer * store.config.numHeads + head);
}

/** The key with the largest weight of a query in the chosen head. */
export function strongest(query: number): number {
  const head = chosenHead();
  return head ? argmax(row(head.weights, query, store.config.tokens)) : query;
}

/** The pair that is shown; where lines lead to the chosen token, from the one that attends to it most. */
function railPair(): { query: number; key: number } {
  const { hover, state, config } = store;
  const head = chosenHead();
  const { query, attendedBy } = state.value;
  if (!attendedBy || hover.value.key !== undefined || !head) return shownPair();
  return { query: argmax(column(head.weights, query, config.tokens)), key: query };
}

function column(weights: Float64Array, index: number, tokens: number): Float64Array {
  return Float64Array.from({ length: tokens }, (_, i) => weights[i * tokens + index]);
}

/** "L3 H2: patch 11 attends to patch 15 with 89 %". */
function Readout({ hidden }: { hidden: boolean }) {
  const { config, state } = store;
  const { query, key } = railPair();
  const head = chosenHead();
  if (!head) return <p class="readout">Lines appear with a prediction.</p>;
  const { step, layer, head: number } = state.value;
  const name = step === "draw" ? `Layer ${layer + 1}, head ${number + 1}` : headName(layer, number);
  const names = { head: <Term name="head">{name}</Term>, query: tokenName(query, config), key_: tokenName(key, config) };
  return (
    <p class="readout">
      {isRemoved() ? (
        <><b>{names.head}</b> is removed: its output is not used.</>
      ) : hidden ? (
        <><b>{names.head}:</b> the query is <b>{names.query}</b>.</>
      ) : (
        <Pair {...names} verb={<Term name="attends to" />} uniform={<Term name="uniform weight" />} weight={head.weights[query * config.tokens + key]} even={1 / config.tokens} />
      )}
    </p>
  );
}

/** Whether a question is not yet answered or skipped. */
export function isOpen(id: string): boolean {
  return store.guesses.value[id] === undefined;
}

interface QuestionProps {
  id: string;
  text: string;
  options?: string[]; // without them, a patch is chosen on the digit
  correct: number; // place of the option, or token
  explain: string;
  hides?: boolean; // the result of the step, until it is answered
}

/** An element whose text is spoken after each change of `on`, but not at first. */
function useSpoken(on: unknown[]) {
  const element = useRef<any>(null);
  const isFirst = useRef(true);
  useEffect(() => {
    if (!isFirst.current) store.say(element.current?.textContent ?? "", false);
    isFirst.current = false;
  }, on);
  return element;
}

/** Speaks the prediction, or that there is none. */
export function sayPrediction(before = ""): void {
  const { classNames, readsDigits } = store.config;
  const { predictions, prediction } = store.result.value;
  const several = predictions.length > 1 ? `${predictions.length} digits: ${labelOf(predictions, classNames, true)}.` : "";
  store.say(before + (several || (prediction ? sentenceOf(prediction, classNames, readsDigits) : "No prediction.")), false);
}

/** Predict, then reveal: a question that is answered or skipped before the result is shown. */
export function Question({ id, text, options, correct, explain }: QuestionProps) {
  const guess = store.guesses.value[id];
  const holder = useSpoken([guess === undefined]);
  useEffect(() => {
    if (document.activeElement === document.body) holder.current?.querySelector("button")?.focus({ preventScroll: true }); // the chosen button is gone
  }, [guess === undefined]);
  if (isOpen(id)) {
    return (
      <div class="question" ref={holder}>
        <p>
          <span class="tag">Predict</span> {text}
        </p>
        <div class="options">
          {options?.map((option, i) => (
            <button type="button" key={option} onClick={() => store.guess(id, i)}>{option}</button>
          ))}
          {!options && <span class="small">Choose it in the picture.</span>}
          <button type="button" class="quiet" onClick={() => store.guess(id, -1)}>Just show me</button>
        </div>
      </div>
    );
  }
  const isRight = guess === correct;
  return (
    <p class={`revealed ${guess < 0 ? "" : isRight ? "right" : "wrong"}`} ref={holder}>
      {guess >= 0 && <b>{isRight ? "Yes. " : "Not quite. "}</b>}
      {explain}{" "}
      <button type="button" class="quiet" onClick={() => store.guess(id, undefined)}>Predict again</button>
    </p>
  );
}

/** One thing to do, with its control beside it. */
export function Try({ children }: { children: ComponentChildren }) {
  return (
    <div class="try">
      <span class="tag">Try</span> {children}
    </div>
  );
}

/** What a change did to the prediction. */
export function Effect() {
  const { result, trained, changes } = store;
  const [now, before] = [result.value.prediction, trained.value.prediction];
  const line = useSpoken([now, changes.value.join()]);
  if (!now || !before || changes.value.length === 0) return null;
  return <p class="effect" ref={line}><Change before={before} now={now} /></p>;
}

/** "The prediction changes from 7 to 4, 35 %, which is too uncertain to be recognised." */
export function Change({ before: { best, probabilities }, now }: { before: Prediction; now: Prediction }) {
  const { classNames } = store.config;
  return (
    <>
      {now.best === best ? (
        <>The prediction stays <b>{classNames[best]}</b>: {percent(probabilities[best])} → {percent(now.probabilities[best])}</>
      ) : (
        <>The prediction changes from <b>{classNames[best]}</b> to <b>{classNames[now.best]}</b>, {percent(now.probabilities[now.best])}</>
      )}
      {now.status === "rejected" && ", too uncertain to be recognised"}.
    </>
  );
}

/** With a capital letter. */
export function sentence(text: string): string {
  return text[0].toUpperCase() + text.slice(1);
}
