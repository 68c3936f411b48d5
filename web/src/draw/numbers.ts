// Formatted numbers.

const NARROW_SPACE = "\u202f";
const MINUS = "\u2212";

/** A share in per cent, with two significant digits: 41 %, 6.2 %, 0.62 %; below 0.01 %, "< 0.01 %"; 100 % only if it is 1. */
export function percent(share: number): string {
  const hundredths = share * 100;
  if (hundredths >= 99 && share < 1) {
    const digits = hundredths < 99.9 ? 1 : 2;
    const written = Math.min(Number(hundredths.toFixed(digits)), 100 - 10 ** -digits);
    return `${written.toFixed(digits)}${NARROW_SPACE}%`;
  }
  if (hundredths >= 9.95 || hundredths === 0) return hundredths.toFixed(0) + NARROW_SPACE + "%";
  if (hundredths < 0.00995) return `<${NARROW_SPACE}0.01${NARROW_SPACE}%`;
  return hundredths.toFixed(hundredths >= 0.995 ? 1 : 2) + NARROW_SPACE + "%";
}

/** A share in per cent with at most two decimals: 6.25 %, 20 %. */
export function exactPercent(share: number): string {
  return `${Number((share * 100).toFixed(2))}${NARROW_SPACE}%`;
}

/** A difference of two shares in percentage points, signed. */
export function points(difference: number): string {
  return signed(difference * 100);
}

/** With its sign: +1.2, −0.34. */
export function signed(value: number): string {
  const text = decimal(value, Math.abs(value) < 0.95 ? 2 : 1);
  return value > 0 && Number(text) > 0 ? `+${text}` : text;
}

/** With this many decimals and a typographic minus sign. */
export function decimal(value: number, digits = 2): string {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "not a number" : value > 0 ? "∞" : `${MINUS}∞`;
  const text = value.toFixed(digits);
  return Number(text) === 0 ? text.replace("-", "") : text.replace("-", MINUS);
}

/** A multiple: 6.6×. */
export function multiple(times: number): string {
  return `${times === 0 ? 0 : times.toFixed(times < 0.095 ? 2 : times < 9.95 ? 1 : 0)}×`;
}

/** With a power of ten: 4.0 × 10⁻¹¹. */
export function scientific(value: number, digits = 1): string {
  if (value === 0) return "0";
  if (!Number.isFinite(value)) return "not a number";
  const [number, power] = value.toExponential(digits).split("e");
  const raised = String(Number(power)).replace(/./g, (sign) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(sign)]);
  return `${number.replace("-", MINUS)} × 10${raised}`;
}
