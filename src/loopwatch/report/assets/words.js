// Numbers as the text report has them (report/words.py), and elements made of texts only.
"use strict";
const lw = {};

lw.number = (value) => String(Math.round(value)).replace(/\B(?=(\d{3})+$)/g, ",");
lw.counted = (value, one, many) => `${lw.number(value)} ${value === 1 ? one : many || one + "s"}`;

// As Python formats: to the nearest, and of what lies exactly between two to the even one.
lw.fixed = (value, digits) => {
  const halves = value * 2 ** (digits + 1) * 5 ** digits;
  const between = Number.isInteger(value * 2 ** (digits + 1)) && halves % 2 === 1;
  if (!between) return value.toFixed(digits);
  const down = (halves - 1) / 2;
  return ((down + (down % 2)) / 10 ** digits).toFixed(digits);
};

lw.duration = (ms) => {
  const seconds = ms / 1e3;
  if (seconds < 0.0009995) return seconds > 0 ? `${lw.fixed(seconds * 1e6, 0)} µs` : "0 s";
  if (seconds < 0.9995) return ms >= 9.95 ? `${lw.fixed(ms, 0)} ms` : `${lw.fixed(ms, 1)} ms`.replace(".0 ", " ");
  if (seconds < 9.995) return `${lw.fixed(seconds, 2)} s`;
  if (seconds < 119.95) return `${lw.fixed(seconds, 1)} s`;
  const whole = Number(lw.fixed(seconds, 0));
  const minutes = Math.floor(whole / 60);
  if (minutes < 120) return `${minutes} min ${whole % 60} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
};

lw.share = (part, whole) => {
  if (!(whole > 0) || !(part > 0)) return "0 %";
  const percent = (100 * part) / whole;
  if (percent < 0.1) return "< 0.1 %";
  return percent >= 9.95 ? `${lw.fixed(percent, 0)} %` : `${lw.fixed(percent, 1)} %`;
};

lw.at = (id) => document.getElementById(id);

// An element with attributes; children are elements or texts, and texts stay texts.
lw.el = (tag, attributes, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === false || value === null || value === undefined) continue;
    if (name === "width") element.style.width = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
};

lw.fill = (id, ...children) => lw.at(id).replaceChildren(...children.filter((child) => child || child === 0));

// What a stall or site is painted as: its cause where that is known, else its phase.
lw.paint = (each) => (each.allowed ? "allowed" : each.phase === "startup" ? "startup" : each.cause || each.phase);
lw.color = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim() || "gray";
