/** A plot as SVG: lines over axes that are mostly logarithmic, named at their ends, readable on light and on dark pages. */
import * as echarts from "echarts";
import { type Plot, superscript } from "./paper.ts";

/** Written into the plot, and replaced by a rule of the style sheet on dark pages. */
const INK = "#24292f";
const GRID = "#d0d7de";
const DARK = { ink: "#e6edf3", grid: "#3d444d" };
const OURS = "#d1480f";
const OTHERS = [
  "#0a7bc2",
  "#2d8a4e",
  "#9a5fc4",
  "#b07a00",
  "#00868b",
  "#c2408c",
  "#6b7f10",
  "#7a7f87",
];

function xTick(value: number, base: 2 | 10 | undefined): string {
  if (!base || base === 2 && value < 1e4) return String(value);
  return `${base}${superscript(String(Math.round(Math.log(value) / Math.log(base))))}`;
}

/** The same plot gives the same bytes. */
export function svgOf({ title, xName, xBase, yName, yTick, series }: Plot): string {
  const chart = echarts.init(null, null, { renderer: "svg", ssr: true, width: 860, height: 460 });
  const axis = {
    type: "log",
    nameLocation: "middle",
    nameTextStyle: { color: INK },
    axisLabel: { color: INK },
    axisLine: { lineStyle: { color: INK } },
    splitLine: { show: true, lineStyle: { color: GRID } },
  } as const;
  const xs = series.flatMap(({ data }) => data.map(([x]) => x));
  let other = 0;
  chart.setOption({
    animation: false,
    title: { text: title, left: 12, top: 8, textStyle: { color: INK, fontSize: 15 } },
    grid: { left: 80, right: 190, top: 48, bottom: 56, containLabel: false },
    xAxis: {
      ...axis,
      name: xName,
      nameGap: 32,
      ...xBase ? { logBase: xBase } : { type: "value" },
      min: Math.min(...xs),
      max: Math.max(...xs),
      axisLabel: { color: INK, formatter: (value: number) => xTick(value, xBase) },
    },
    yAxis: {
      ...axis,
      name: yName,
      nameGap: 60,
      axisLabel: { color: INK, formatter: (value: number) => yTick(value) },
    },
    series: series.map(({ name, data, isReference }) => {
      const isOurs = name.startsWith("Espalier");
      const color = isReference ? INK : isOurs ? OURS : OTHERS[other++ % OTHERS.length];
      return {
        type: "line",
        name,
        data: data.map((pair) => [...pair]),
        symbol: isReference ? "none" : "circle",
        symbolSize: isOurs ? 7 : 5,
        color,
        itemStyle: { color },
        lineStyle: {
          color,
          width: isOurs ? 3.5 : 1.75,
          type: isReference || name.includes("GPU") ? "dashed" : "solid",
        },
        endLabel: { show: true, formatter: "{a}", color, fontWeight: isOurs ? "bold" : "normal" },
        labelLayout: { moveOverlap: "shiftY" },
      };
    }),
  });
  const svg = chart.renderToSVGString();
  chart.dispose();
  // Classes and clip paths are numbered over all plots of a process.
  const ids = [...new Set(svg.match(/zr\d+-\w+(-\d+)?/g))];
  const style = `<style>@media (prefers-color-scheme: dark) {` +
    `[fill="${INK}"]{fill:${DARK.ink}}[stroke="${INK}"]{stroke:${DARK.ink}}` +
    `[stroke="${GRID}"]{stroke:${DARK.grid}}}</style>`;
  return svg
    .replace(
      /<svg[^>]*>/,
      (opening) => `${opening}\n<title>${title.replace("&", "&amp;")}</title>${style}`,
    )
    .replace(/zr\d+-\w+(-\d+)?/g, (id) => `p${ids.indexOf(id)}`)
    .replace(/ ecmeta_\w+="[^"]*"/g, "") + "\n";
}
