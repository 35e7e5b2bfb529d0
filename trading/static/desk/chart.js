// Lines over time, drawn by uPlot, which is fetched when the first chart is wanted.

import { fill, h } from "./dom.js";

let loading = null;

function library() {
  loading ??= new Promise((resolve, reject) => {
    document.head.append(h("link", { rel: "stylesheet", href: "/static/vendor/uplot/uPlot.min.css" }));
    const script = h("script", { src: "/static/vendor/uplot/uPlot.iife.min.js" });
    script.onload = () => resolve(window.uPlot);
    script.onerror = () => {
      loading = null;
      script.remove();
      reject(new Error("the chart could not be loaded"));
    };
    document.head.append(script);
  });
  return loading;
}

const DAY = 86400;
// Of the time axis, in whole seconds: two ticks never read the same.
const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, DAY, 2 * DAY, 7 * DAY, 30 * DAY];

// An instant as exactly as a chart over *span* seconds needs it, in UTC.
function instant(seconds, span) {
  const told = new Date(seconds * 1000).toISOString();
  return span > 2 * DAY ? told.slice(0, 10) : told.slice(11, span < 600 ? 19 : 16);
}

// What a canvas can be drawn with: a variable may stand for one colour by day and another by night, so an element is
// given it and asked what that comes to.
function colour(name) {
  const probe = h("span", { hidden: true });
  document.body.append(probe);
  probe.style.color = `var(${name})`;
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

const font = () => getComputedStyle(document.body).fontFamily;

// A chart in *place* that can be given new points: {times in seconds, values}. *levels* are [value, name, colour]
// lines across, *marks* are [seconds, name] lines down. *told* writes a value.
export async function lineChart(place, { height, told, label, levels = () => [], marks = () => [] }) {
  const uPlot = await library();
  let chart = null;
  let shown = [[], []];
  const box = h("div", { class: "chart", role: "img", "aria-label": label });
  fill(place, box);

  const drawLines = (u) => {
    const ctx = u.ctx;
    const { left, top, width, height: tall } = u.bbox;
    ctx.save();
    ctx.font = `${11 * devicePixelRatio}px ${font()}`;
    ctx.lineWidth = devicePixelRatio;
    for (const [value, name, kind] of levels()) {
      const y = u.valToPos(value, "y", true);
      if (y < top - 1 || y > top + tall + 1) continue;
      ctx.strokeStyle = ctx.fillStyle = colour(kind);
      ctx.setLineDash([5 * devicePixelRatio, 4 * devicePixelRatio]);
      ctx.beginPath();
      ctx.moveTo(left, y);
      ctx.lineTo(left + width, y);
      ctx.stroke();
      ctx.textAlign = "left";
      ctx.fillText(name, left + 6 * devicePixelRatio, y - 6 * devicePixelRatio);
    }
    for (const [seconds, name] of marks()) {
      const x = u.valToPos(seconds, "x", true);
      if (x < left - 1 || x > left + width + 1) continue;
      ctx.strokeStyle = ctx.fillStyle = colour("--quiet");
      ctx.setLineDash([]);
      ctx.beginPath();
      ctx.moveTo(x, top);
      ctx.lineTo(x, top + tall);
      ctx.stroke();
      ctx.textAlign = x > left + width / 2 ? "right" : "left";
      ctx.fillText(name, x + (x > left + width / 2 ? -5 : 5) * devicePixelRatio, top + 12 * devicePixelRatio);
    }
    ctx.restore();
  };

  const range = (u, low, high) => {
    const values = [low, high, ...levels().map(([value]) => value)].filter((one) => Number.isFinite(one));
    if (!values.length) return [0, 1];
    const [from, to] = [Math.min(...values), Math.max(...values)];
    const room = (to - from || Math.abs(to) * 1e-4 || 1) * 0.12;
    return [from - room, to + room];
  };

  function make() {
    const axis = { stroke: colour("--quiet"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: `11px ${font()}` };
    const old = chart;
    chart = new uPlot(
      {
        width: Math.max(box.clientWidth, 200),
        height,
        legend: { show: false },
        cursor: { y: false, points: { size: 6 } },
        scales: { x: { time: true }, y: { range } },
        tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "UTC"),
        axes: [
          { ...axis, size: 30, space: 80, incrs: STEPS, values: (u, ticks) => ticks.map((one, place) => `${instant(one, u.scales.x.max - u.scales.x.min)}${place ? "" : " UTC"}`) },
          { ...axis, size: 74, values: (u, ticks) => ticks.map((one) => told(one)) },
        ],
        series: [{}, { stroke: colour("--accent"), width: 1.75, fill: colour("--accent-faint"), points: { show: shown[0].length < 2 } }],
        hooks: { draw: [drawLines] },
      },
      shown,
      box,
    );
    if (old) old.destroy();
  }

  // A canvas keeps the colours that it was drawn with.
  const repaint = () => chart && make();
  const themes = new MutationObserver(repaint);
  themes.observe(document.documentElement, { attributeFilter: ["data-theme"] });
  const system = matchMedia("(prefers-color-scheme: dark)");
  system.addEventListener("change", repaint);
  const watch = new ResizeObserver(() => {
    if (chart && box.clientWidth > 0 && Math.abs(chart.width - box.clientWidth) > 1) chart.setSize({ width: box.clientWidth, height });
  });
  watch.observe(box);
  return {
    show(times, values) {
      const first = shown[0].length < 2;
      shown = [times, values];
      if (chart === null || first) make();
      else chart.setData(shown);
    },
    repaint,
    end() {
      watch.disconnect();
      themes.disconnect();
      system.removeEventListener("change", repaint);
      if (chart) chart.destroy();
      chart = null;
    },
  };
}
