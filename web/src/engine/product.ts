// The matrix product x Wᵀ in WebAssembly, with SIMD: two numbers in double precision at a time. The module is
// assembled here, without a compiler; for the bytes see the WebAssembly specification 2.0, chapter 5.

type Code = number[];
type Value = number | Code; // a local variable, or code that leaves a value on the stack

const I32 = 0x7f;
const V128 = 0x7b;
const END = 0x0b;

const unsigned = (value: number): Code => (value < 128 ? [value] : [(value & 127) | 128, ...unsigned(value >> 7)]);
const sized = (code: Code): Code => [...unsigned(code.length), ...code];
const section = (id: number, ...entries: Code[]): Code => [id, ...sized([entries.length, ...entries.flat()])];
const text = (name: string): Code => sized([...new TextEncoder().encode(name)]);

const get = (value: Value): Code => (typeof value === "number" ? [0x20, value] : value);
const set = (local: number, value: Value): Code => [...get(value), 0x21, local];
const constant = (value: number): Code => [0x41, value]; // from 0 to 63
const plus = (a: Value, b: Value): Code => [...get(a), ...get(b), 0x6a];
const minus = (a: Value, b: Value): Code => [...get(a), ...get(b), 0x6b];
const times = (a: Value, b: Value): Code => [...get(a), ...get(b), 0x6c];
const less = (a: Value, b: Value): Code => [...get(a), ...get(b), 0x49];
const smaller = (a: Value, b: Value): Code => [...get(a), ...get(b), ...less(a, b), 0x1b];
const zeroPair: Code = [0xfd, 0x0c, ...new Array(16).fill(0)];
const pair = (address: Value): Code => [...get(address), 0xfd, 0x00, 3, 0];
const plusProduct = (sum: Value, a: Value, b: Value): Code => [...get(sum), ...get(a), ...get(b), 0xfd, 0xf2, 1, 0xfd, 0xf0, 1];
const total = (a: Value): Code => [...get(a), 0xfd, 0x21, 0, ...get(a), 0xfd, 0x21, 1, 0xa0];
const store = (address: Value, offset: number, number: Value): Code => [...get(address), ...get(number), 0x39, 3, offset];
/** i = 0; do body while ((i += step) < end) */
const loop = (i: number, end: Value, step: number, ...body: Code[]): Code => {
  const next = [...set(i, plus(i, constant(step))), ...less(i, end), 0x0d, 0];
  return [...set(i, constant(0)), 0x03, 0x40, ...body.flat(), ...next, END];
};

/**
 * product(x, W, result, rows, outputs, width): addresses, numbers of rows of x and of W, and their length in bytes.
 * In blocks of four rows and two outputs, which keep eight sums in registers; the last outputs overlap those before, and up to three rows follow the last one.
 */
function assembled(): Uint8Array<ArrayBuffer> {
  const locals = Array.from({ length: 28 }, (_, local) => local);
  const [x, weight, result, rows, outputs, width, row, output, o, i, to, v, w, x0, x1, x2, x3, a, b, p, ...sums] = locals;
  const xs = [x0, x1, x2, x3];
  const [as, bs] = [sums.slice(0, 4), sums.slice(4)];
  const body = loop(output, outputs, 2,
    set(o, smaller(output, minus(outputs, constant(2)))),
    set(v, plus(weight, times(o, width))),
    set(w, plus(v, width)),
    loop(row, rows, 4,
      ...xs.map((address, k) => set(address, k === 0 ? plus(x, times(row, width)) : plus(xs[k - 1], width))),
      ...sums.map((sum) => set(sum, zeroPair)),
      loop(i, width, 16,
        set(a, pair(plus(v, i))),
        set(b, pair(plus(w, i))),
        ...xs.flatMap((address, k) => [
          set(p, pair(plus(address, i))),
          set(as[k], plusProduct(as[k], p, a)),
          set(bs[k], plusProduct(bs[k], p, b)),
        ]),
      ),
      set(to, plus(result, times(plus(times(row, outputs), o), constant(8)))),
      ...xs.flatMap((_, k) => [
        store(to, 0, total(as[k])),
        store(to, 8, total(bs[k])),
        set(to, plus(to, times(outputs, constant(8)))),
      ]),
    ),
  );
  return Uint8Array.from([
    ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, [0x60, ...sized(new Array(6).fill(I32)), 0]), // type: six integers, no result
    ...section(2, [...text("of"), ...text("memory"), 2, 0, 0]), // import: a memory of any size
    ...section(3, [0]), // function
    ...section(7, [...text("product"), 0, 0]), // export
    ...section(10, sized([2, a - row, I32, locals.length - a, V128, ...body, END])), // code
  ]);
}

interface Space {
  numbers: Float64Array; // the memory: room for factors that are elsewhere and for the result, then weights
  product(x: number, weight: number, result: number, rows: number, outputs: number, width: number): void;
}

const ROOM = 1 << 18; // numbers; a layer of 197 tokens of 192 numbers needs 190,000
const spaces = new WeakMap<ArrayBufferLike, Space>();
let compiled: WebAssembly.Module | undefined;
let spare: Float64Array | undefined;

/**
 * An array of zeros for weights, in a memory of WebAssembly, where `product` reads them without a copy. The
 * memory never grows. An ordinary array in a browser without WebAssembly, or its SIMD, or enough memory for it.
 */
export function weightArray(length: number): Float64Array {
  try {
    const memory = new WebAssembly.Memory({ initial: Math.ceil((ROOM + length) / 8192) });
    compiled ??= new WebAssembly.Module(assembled());
    const { exports } = new WebAssembly.Instance(compiled, { of: { memory } });
    const numbers = new Float64Array(memory.buffer);
    spaces.set(memory.buffer, { numbers, product: exports.product as Space["product"] });
    return numbers.subarray(ROOM, ROOM + length);
  } catch {
    return new Float64Array(length);
  }
}

/** x Wᵀ into `result`. False, with nothing done, without WebAssembly, for a single output, for rows of odd length, and for too many numbers. */
export function product(x: Float64Array, rows: number, weight: Float64Array, outputs: number, result: Float64Array): boolean {
  const inputs = x.length / rows;
  if (outputs < 2 || inputs % 2 === 1) return false;
  const own = spaces.get(weight.buffer);
  const space = own ?? spaces.get((spare ??= weightArray(0)).buffer);
  const to = x.length + (own ? 0 : weight.length);
  if (!space || to + (rows + 3) * Math.max(inputs, outputs) > ROOM) return false;
  space.numbers.set(x);
  if (!own) space.numbers.set(weight, x.length);
  space.product(0, own ? weight.byteOffset : 8 * x.length, 8 * to, rows, outputs, 8 * inputs);
  result.set(space.numbers.subarray(to, to + result.length));
  return true;
}
