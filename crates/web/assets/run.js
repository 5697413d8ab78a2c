// Draws each curve from its table, which holds the same points.
"use strict";
(() => {
  const style = () => {
    const of = getComputedStyle(document.documentElement);
    return (name) => of.getPropertyValue(name).trim();
  };

  const draw = (figure) => {
    const rows = [...figure.querySelectorAll("tbody tr")];
    const x = rows.map((row) => Number(row.cells[0].dataset.x));
    const y = rows.map((row) => Number(row.cells[1].textContent));
    const place = figure.querySelector(".plot");
    const colour = style();
    const axis = { stroke: colour("--quiet"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line"), width: 1 } };
    const isTime = figure.dataset.axis === "time";
    place.replaceChildren();
    return new uPlot({
      width: place.clientWidth,
      height: figure.parentElement.classList.contains("one") ? 320 : 190,
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
      scales: { x: { time: isTime } },
      axes: [axis, { ...axis, size: 62 }],
      cursor: { sync: { key: isTime ? "time" : "step" } },
      series: [{ label: figure.dataset.axis }, { label: figure.dataset.key, stroke: colour("--busy"), width: 1.6, points: { show: x.length < 60, size: 5 } }],
    }, [x, y], place);
  };

  const figures = [...document.querySelectorAll(".curve")];
  let plots = figures.map(draw);
  const again = () => {
    plots.forEach((plot) => plot.destroy());
    plots = figures.map(draw);
  };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth === width) return;
    width = innerWidth;
    again();
  });
})();
