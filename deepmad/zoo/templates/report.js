"use strict";
(() => {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const narrow = matchMedia("(max-width: 640px)");
  const holder = document.getElementById("charts");
  const charts = holder ? JSON.parse(holder.textContent) : {};

  // The documents name the page's CSS variables as colours, so that one document serves both schemes.
  const coloured = (value, style, key = "") => {
    if (Array.isArray(value)) return value.map((one) => coloured(one, style, key));
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, coloured(one, style, name)]));
    }
    const named = key.endsWith("color") && typeof value === "string" && value.startsWith("--");
    return named ? style.getPropertyValue(value).trim() : value;
  };

  const draw = () => {
    const style = getComputedStyle(document.documentElement);
    for (const [key, chart] of Object.entries(charts)) {
      const { data, layout } = coloured(chart, style);
      if (narrow.matches) {
        for (const trace of data) trace.mode = trace.mode.replace("+text", "");  // no room for names beside marks
        layout.margin.l = layout.margin.r = 8;
      }
      Plotly.react(`plot-${key}`, data, layout, { responsive: true, displayModeBar: false });
    }
  };
  draw();
  dark.addEventListener("change", draw);
  narrow.addEventListener("change", draw);

  const sortBy = (header) => {
    const table = header.closest("table");
    const rising = header.getAttribute("aria-sort") !== "ascending";
    for (const other of table.querySelectorAll("thead th")) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", rising ? "ascending" : "descending");
    const rows = [...table.tBodies[0].rows].map((row) => [row.cells[header.cellIndex].dataset.value, row]);
    const sign = rising ? 1 : -1;
    rows.sort(([a], [b]) => {
      if (a === "" || b === "") return (a === "") - (b === "");  // what does not apply stays last
      return sign * (isNaN(a) || isNaN(b) ? a.localeCompare(b) : a - b);
    });
    table.tBodies[0].append(...rows.map(([, row]) => row));
  };
  for (const button of document.querySelectorAll("th button")) {
    button.addEventListener("click", () => sortBy(button.closest("th")));
  }

  const networks = [...document.querySelectorAll("details.network")];
  const openAll = document.getElementById("open-all");
  if (openAll) {
    openAll.addEventListener("click", () => {
      const closed = networks.some((network) => !network.open);
      for (const network of networks) network.open = closed;
    });
  }
  const openLinked = () => {
    const target = document.getElementById(location.hash.slice(1));
    if (target instanceof HTMLDetailsElement) target.open = true;
  };
  addEventListener("hashchange", openLinked);
  openLinked();
})();
