// Formatted numbers.

const NARROW_SPACE = "\u202f";
const MINUS = "\u2212";
const MIN = 0.00095; // per cent: smaller numbers are written with a power of ten

/** A share in per cent, with two significant digits: 41 %, 6.2 %, 0.62 %, 0.062 %. @param {number} share */
export function percent(share) {
  return `${percentDigits(share)}${NARROW_SPACE}%`;
}

/** @param {number} share */
function percentDigits(share) {
  const hundredths = share * 100;
  if (hundredths >= 9.95 || hundredths === 0) return hundredths.toFixed(0);
  if (hundredths < MIN) return scientific(hundredths, 0);
  const digits = [0.995, 0.0995, 0.00995].findIndex((limit) => hundredths >= limit);
  return hundredths.toFixed(digits < 0 ? 4 : digits + 1);
}

/** A share in per cent, with one digit more than `percent`. @param {number} share */
export function finePercent(share) {
  return `${(share * 100).toFixed(share >= 0.0995 ? 1 : 2)}${NARROW_SPACE}%`;
}

/** A share in per cent with at most two digits: 6.25 %, 20 %. @param {number} share */
export function exactPercent(share) {
  return `${Number((share * 100).toFixed(2))}${NARROW_SPACE}%`;
}

/** A difference of two shares in percentage points, signed. @param {number} difference */
export function points(difference) {
  const value = difference * 100;
  const text = decimal(value, Math.abs(value) < 0.95 ? 2 : 1);
  return value > 0 && Number(text) > 0 ? `+${text}` : text;
}

/**
 * With this many decimals and a typographic minus sign.
 * @param {number} value
 * @param {number} digits
 */
export function decimal(value, digits = 2) {
  if (value === Infinity) return "∞";
  if (value === -Infinity) return `${MINUS}∞`;
  const text = value.toFixed(digits);
  return Number(text) === 0 ? text.replace("-", "") : text.replace("-", MINUS);
}

/** A multiple: 6.6×. @param {number} times */
export function multiple(times) {
  return `${times.toFixed(times < 0.095 ? 2 : 1)}×`;
}

/** With a power of ten: 4.0 × 10⁻¹¹. @param {number} value @param {number} digits decimals */
export function scientific(value, digits = 1) {
  if (value === 0) return "0";
  if (!Number.isFinite(value)) return "not a number";
  const [number, power] = value.toExponential(digits).split("e");
  const raised = String(Number(power)).replace(/./g, (sign) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(sign)]);
  return `${number.replace("-", MINUS)} × 10${raised}`;
}
