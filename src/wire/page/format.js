// Numbers and times as people read them. Pure.

const number = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat('en', { maximumSignificantDigits: 3 });
const UNITS = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'];

export const count = (value) => number.format(value);

/** Bytes in decimal units. */
export function bytes(value) {
  let unit = 0;
  let size = value;
  // 999.5 would be shown as 1,000.
  while (size >= 999.5 && unit < UNITS.length - 1) {
    size /= 1000;
    unit += 1;
  }
  return `${unit === 0 ? count(size) : short.format(size)} ${UNITS[unit]}`;
}

export const rate = (value) => `${bytes(value)}/s`;

/** Seconds, in the two largest units that they have. */
export function duration(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const [days, hours, minutes] = [Math.floor(whole / 86_400), Math.floor(whole / 3600) % 24, Math.floor(whole / 60) % 60];
  if (days > 0) return hours > 0 ? `${days} d ${hours} h` : `${days} d`;
  if (hours > 0) return minutes > 0 ? `${hours} h ${minutes} min` : `${hours} h`;
  if (minutes > 0) return `${minutes} min`;
  return `${whole} s`;
}

export const plural = (value, one, many) => `${count(value)} ${value === 1 ? one : many}`;

/** A moment that the server names (RFC 3339), in the time of this browser. */
export const moment = (text) => new Date(text).toLocaleString('en-GB', { dateStyle: 'medium', timeStyle: 'short' });

/** The first characters of an id, as logs show it. */
export const short_id = (id) => id.slice(0, 8);

/** What the server says of the upload's end, as a share of its length; null while that is unknown. */
export const share = (part, whole) => (whole ? Math.min(1, part / whole) : null);
