// Numbers as a trader reads them: signed, with their unit, always as many digits; what is unknown is a dash.

export const NONE = "–";
const MINUS = "−";

const known = (value) => typeof value === "number" && Number.isFinite(value);
const digits = new Map();

function plain(value, places) {
  if (!digits.has(places)) {
    digits.set(places, new Intl.NumberFormat("en-US", { minimumFractionDigits: places, maximumFractionDigits: places }));
  }
  return digits.get(places).format(Math.abs(value));
}

// Rounded to nothing is nothing, and has no sign.
const sign = (value, places, plus) => {
  const rounded = Number(value.toFixed(places));
  return rounded < 0 ? MINUS : rounded > 0 ? plus : "";
};

export const usd = (value, places = 2) => (known(value) ? `${sign(value, places, "")}$${plain(value, places)}` : NONE);
export const signedUsd = (value, places = 2) => (known(value) ? `${sign(value, places, "+")}$${plain(value, places)}` : NONE);
export const wholeUsd = (value) => usd(value, 0);

// *value* is a fraction.
export const percent = (value, places = 2) => (known(value) ? `${sign(value, places + 2, "")}${plain(value * 100, places)} %` : NONE);
export const signedPercent = (value, places = 2) =>
  known(value) ? `${sign(value, places + 2, "+")}${plain(value * 100, places)} %` : NONE;

export const bps = (value) => (known(value) ? `${sign(value, 1, "+")}${plain(value, 1)} bps` : NONE);
export const number = (value, places = 2) => (known(value) ? `${sign(value, places, "")}${plain(value, places)}` : NONE);

// A price or ratio with six significant digits.
export function price(value) {
  if (!known(value)) return NONE;
  const size = Math.abs(value);
  const places = size === 0 ? 2 : Math.min(Math.max(5 - Math.floor(Math.log10(size)), 0), 18);
  return `${value < 0 ? MINUS : ""}${plain(value, places)}`;
}

// A ratio of prices less one, with as many digits as show six of the ratio: of kPEPE / BTC all of it is behind 0.99999.
export function spread(value) {
  if (!known(value)) return NONE;
  const ratio = 1 + value;
  const places = ratio > 0 ? Math.min(Math.max(5 - Math.floor(Math.log10(ratio)), 0), 14) : 6;
  const least = Math.abs(value) < 1 ? 6 : 5 - Math.floor(Math.log10(Math.abs(value)));
  const shown = Math.max(places, least, 0);
  return `${sign(value, shown, "")}${plain(value, shown)}`;
}

// A limit, exactly: 2.5 % is not 3 %.
export const limitPercent = (value) => (known(value) ? `${new Intl.NumberFormat("en-US", { maximumSignificantDigits: 6 }).format(value * 100)} %` : NONE);

// An amount that is about to be sent, exactly.
export const exactUsd = (value) => (known(value) ? `$${new Intl.NumberFormat("en-US", { maximumFractionDigits: 8 }).format(value)}` : NONE);

export function quantity(value) {
  if (!known(value)) return NONE;
  return new Intl.NumberFormat("en-US", { maximumSignificantDigits: 7 }).format(value);
}

// "gain", "loss" or "" for the colour; the sign says the same without it.
export const tone = (value, places = 2) => {
  if (!known(value)) return "";
  const rounded = Number(value.toFixed(places));
  return rounded > 0 ? "gain" : rounded < 0 ? "loss" : "";
};

// Seconds as the two largest units that matter: 4 s, 3 min 20 s, 2 h 5 min, 3 d 4 h.
export function duration(seconds) {
  if (!known(seconds)) return NONE;
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return s % 60 ? `${Math.floor(s / 60)} min ${s % 60} s` : `${s / 60} min`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

export const age = (seconds) => (known(seconds) ? (seconds < 9.95 ? `${plain(Math.max(0, seconds), 1)} s` : duration(seconds)) : NONE);

// The desk's day begins at 00:00 UTC, and its files and tables are in UTC: so is every time here, and says so.
const utc = (instant) => new Date(instant).toISOString();
export const time = (instant) => (instant ? `${utc(instant).slice(11, 19)} UTC` : NONE);
export const dayTime = (instant) => (instant ? `${utc(instant).slice(0, 10)} ${time(instant)}` : NONE);

export const words = (code) => String(code || "").replaceAll("_", " ").toLowerCase();
