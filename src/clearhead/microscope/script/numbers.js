// Numbers as people read them.

const NARROW_SPACE = "\u202f";
const MINUS = "\u2212";

/** A share in per cent: 41 %, 6.2 %, 0.03 %. @param {number} share */
export function percent(share) {
  return `${percentDigits(share)}${NARROW_SPACE}%`;
}

/** @param {number} share */
function percentDigits(share) {
  const hundredths = share * 100;
  if (hundredths >= 9.95) return hundredths.toFixed(0);
  if (hundredths >= 0.095 || hundredths === 0) return hundredths.toFixed(1);
  return hundredths < 0.0005 ? hundredths.toExponential(0).replace("-", MINUS) : hundredths.toFixed(3);
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
 * With so many digits after the point and a real minus sign.
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

/** A tiny number by its power: 4 × 10⁻¹¹. @param {number} value */
export function scientific(value) {
  if (value === 0) return "0";
  if (!Number.isFinite(value)) return "not a number";
  const [digits, power] = value.toExponential(1).split("e");
  const raised = String(Number(power)).replace(/./g, (sign) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(sign)]);
  return `${digits.replace("-", MINUS)} × 10${raised}`;
}
