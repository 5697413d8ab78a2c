// Redraws a run's curves finer and side by side, and follows a run that goes on.
"use strict";
(() => {
  const place = document.getElementById("plots");
  const form = document.querySelector("form.look");
  const status = document.getElementById("status");
  const stamp = document.getElementById("live");
  if (!place || !form) return;
  const EVERY_MS = 2000;
  const figures = new Map([...place.querySelectorAll(".curve")].map((figure) => [figure.dataset.key, figure]));
  const known = new Set([...document.querySelectorAll("#latest tr")].map((row) => row.dataset.key));
  let answer = null;
  let plots = [];
  let heard = 0;

  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const look = () => ({ x: form.elements.x.value, smooth: Number(form.elements.smooth.value), isLog: form.elements.log.checked });

  // As the server smooths: without the pull towards zero of the first points; gaps are passed over.
  const smooth = (values, weight) => {
    if (weight <= 0) return values;
    let sum = 0;
    let power = 1;
    return values.map((value) => {
      if (value === null) return null;
      sum = sum * weight + value * (1 - weight);
      power *= weight;
      return sum / (1 - power);
    });
  };

  const series = (curve, { x, smooth: weight, isLog }) => {
    const isTime = x === "time" || (x === "step" && curve.by_time);
    const at = isTime ? curve.time.map((ms) => (answer.start + ms) / 1000)
      : x === "relative" ? curve.time.map((ms) => ms / 1000) : curve.step;
    const order = at.map((_, n) => n).sort((a, b) => at[a] - at[b]);
    const sorted = (values) => order.map((n) => (values[n] === null || (isLog && values[n] <= 0) ? null : values[n]));
    const raw = sorted(curve.last);
    const data = [order.map((n) => at[n]), smooth(raw, weight)];
    if (weight > 0) data.push(raw);
    if (curve.min.length) data.push(sorted(curve.max), sorted(curve.min));
    return { data, isTime };
  };

  // A stretch that is chosen in one curve is shown in all that have the same axis; a double click shows all of each again.
  const zoom = (plot) => {
    if (plot.select.width < 3) return;
    const min = plot.posToVal(plot.select.left, "x");
    const max = plot.posToVal(plot.select.left + plot.select.width, "x");
    for (const other of plots) if (other !== plot && other.group === plot.group) other.setScale("x", { min, max });
  };
  place.addEventListener("dblclick", () => plots.forEach((plot) => plot.setData(plot.data)));

  const draw = (figure, curve) => {
    const now = look();
    const { data, isTime } = series(curve, now);
    const room = figure.querySelector(".plot");
    const stroke = style("--busy");
    const axis = { stroke: style("--quiet"), grid: { stroke: style("--line"), width: 1 }, ticks: { stroke: style("--line"), width: 1, size: 4 }, font: "11px system-ui" };
    const lines = [{ label: now.x === "relative" ? "seconds" : isTime ? "time" : "step" }, { label: "value", stroke, width: 1.6, points: { show: data[0].length < 40, size: 4 } }];
    if (now.smooth > 0) lines.push({ label: "raw", stroke, alpha: 0.28, width: 1, points: { show: false } });
    const bands = [];
    if (curve.min.length) {
      lines.push({ label: "greatest", stroke: "transparent", points: { show: false } }, { label: "least", stroke: "transparent", points: { show: false } });
      bands.push({ series: [lines.length - 2, lines.length - 1], fill: style("--band") });
    }
    room.replaceChildren();
    const plot = new uPlot({
      width: room.clientWidth,
      height: place.classList.contains("one") ? 380 : 190,
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
      scales: { x: { time: isTime }, y: now.isLog ? { distr: 3 } : {} },
      axes: [{ ...axis, size: 30 }, { ...axis, size: 54 }],
      cursor: { sync: { key: isTime ? "time" : now.x }, drag: { x: true, y: false } },
      legend: { live: true },
      series: lines,
      bands,
      hooks: { setSelect: [zoom] },
    }, data, room);
    plot.group = isTime ? "time" : now.x;
    plot.shape = lines.length;
    plot.curve = curve.key;
    return plot;
  };

  const drawAll = () => {
    plots.forEach((plot) => plot.destroy());
    plots = answer.curves.filter((curve) => figures.has(curve.key)).map((curve) => draw(figures.get(curve.key), curve));
  };

  const update = () => {
    for (const curve of answer.curves) {
      const n = plots.findIndex((plot) => plot.curve === curve.key);
      if (n < 0) continue;
      const { data } = series(curve, look());
      if (data.length === plots[n].shape) plots[n].setData(data);
      else {
        plots[n].destroy();
        plots[n] = draw(figures.get(curve.key), curve);
      }
    }
    for (const [key, shown, exact, step] of answer.latest) {
      const row = document.querySelector(`#latest tr[data-key="${CSS.escape(key)}"]`);
      if (!row || row.cells[1].title === exact) continue;
      row.cells[1].textContent = shown;
      row.cells[1].title = exact;
      row.cells[2].textContent = step;
    }
  };

  const fetchCurves = async () => {
    const got = await fetch(place.dataset.curves);
    if (!got.ok) throw new Error(`${got.status}`);
    answer = await got.json();
    heard = Date.now();
  };

  // A live run is asked again while somebody looks; what the page has no place for is got by loading it anew.
  const follow = async () => {
    if (document.hidden) return setTimeout(follow, EVERY_MS);
    try {
      await fetchCurves();
      update();
      const log = document.getElementById("logtext");
      if (log) {
        const text = await (await fetch(`${location.pathname}/log`)).text();
        if (text && text !== log.textContent) {
          const isAtEnd = log.scrollTop + log.clientHeight > log.scrollHeight - 20;
          log.textContent = text;
          if (isAtEnd) log.scrollTop = log.scrollHeight;
        }
      }
    } catch {
      tell();
      return setTimeout(follow, 4 * EVERY_MS);
    }
    tell();
    if (!answer.is_live || answer.latest.some(([key]) => !known.has(key))) return location.reload();
    setTimeout(follow, EVERY_MS);
  };

  const tell = () => {
    const ago = Math.round((Date.now() - heard) / 1000);
    stamp.hidden = false;
    stamp.classList.toggle("on", ago < 8);
    stamp.textContent = ago < 8 ? "live" : `not heard for ${ago} s`;
  };

  const view = () => {
    const now = look();
    const url = new URL(location.href);
    const set = (name, value, usual) => (value === usual ? url.searchParams.delete(name) : url.searchParams.set(name, value));
    set("x", now.x, "step");
    set("smooth", String(now.smooth), "0");
    set("log", now.isLog ? "1" : "", "");
    history.replaceState(null, "", url);
  };

  form.addEventListener("input", (event) => {
    if (event.target.name === "keys") return;
    form.querySelector("output").textContent = form.elements.smooth.value;
    if (!answer) return;
    view();
    drawAll();
  });

  const start = async () => {
    if (figures.size) {
      try {
        await fetchCurves();
        drawAll();
      } catch {
        return; // the server's own pictures stay
      }
    }
    if (status.dataset.live === "true") follow();
  };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => answer && drawAll());
  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth === width || !answer) return;
    width = innerWidth;
    drawAll();
  });
  const log = document.getElementById("logtext");
  if (log) log.scrollTop = log.scrollHeight;
  start();
})();
