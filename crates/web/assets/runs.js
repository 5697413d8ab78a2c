// The table of runs of any length: rows are fetched as one comes near, and only those around the screen are in the page.
"use strict";
(() => {
  const table = document.getElementById("runs");
  if (!table) return;
  const AROUND = 10;
  const MOST = 500;
  const body = table.tBodies[0];
  const form = document.getElementById("pickform");
  const told = document.getElementById("picked");
  const { rows: address, best, later } = { ...table.dataset, later: "later" in table.dataset };
  const picked = new Set();
  let next = table.dataset.next;
  let all = [...body.rows].map((row) => ({ id: row.id, html: row.outerHTML }));
  let from = 0;
  let to = all.length;
  let at = -1;
  let wanted = 0;
  let isLoading = false;

  const rowHeight = body.rows[0].getBoundingClientRect().height;
  const children = () => all.filter((entry) => entry.isChild).length;
  for (const [n, row] of [...body.rows].entries()) all[n].isChild = row.classList.contains("child");
  const expected = () => next && !later ? Number(table.dataset.total) + children() : all.length + (next ? 20 : 0);

  const pad = (before) => {
    const cell = document.createElement("td");
    cell.colSpan = table.tHead.rows[0].cells.length;
    const part = document.createElement("tbody");
    part.className = "pad";
    part.setAttribute("aria-hidden", "true");
    part.insertRow().append(cell);
    before ? table.insertBefore(part, body) : table.append(part);
    return cell;
  };
  const upper = pad(true);
  const lower = pad(false);

  // Columns keep the width that the first rows gave them, or they would dance.
  const settle = () => {
    const cells = [...table.tHead.rows[0].cells];
    table.style.tableLayout = "auto";
    cells.forEach((cell) => { cell.style.width = ""; });
    const widths = cells.map((cell) => cell.getBoundingClientRect().width);
    cells.forEach((cell, n) => { cell.style.width = `${widths[n]}px`; });
    table.style.tableLayout = "fixed";
  };

  const parse = (html) => {
    const template = document.createElement("template");
    template.innerHTML = `<table><tbody>${html}</tbody></table>`;
    return [...template.content.querySelectorAll("tr")].map((row) => ({ id: row.id, html: row.outerHTML, isChild: row.classList.contains("child") }));
  };

  const mark = () => {
    for (const input of body.querySelectorAll(".pick input")) {
      input.checked = picked.has(input.value);
      input.closest("tr").classList.toggle("picked", input.checked);
    }
  };

  const draw = (again) => {
    const top = upper.getBoundingClientRect().top;
    const first = Math.max(0, Math.min(all.length, Math.floor(-top / rowHeight) - AROUND));
    const count = Math.ceil(innerHeight / rowHeight) + 2 * AROUND;
    const last = Math.min(all.length, first + count);
    if (first + count > all.length - AROUND && next) load(first + count + AROUND);
    if (!again && first === from && last === to) return;
    const focused = document.activeElement?.closest("tr")?.id;
    [from, to] = [first, last];
    body.innerHTML = all.slice(from, to).map((entry) => entry.html).join("");
    upper.style.height = `${from * rowHeight}px`;
    lower.style.height = `${Math.max(0, expected() - to) * rowHeight}px`;
    mark();
    if (focused && all[at]?.id === focused) show(at);
  };

  const load = async (upTo) => {
    wanted = Math.max(wanted, upTo);
    if (isLoading) return;
    isLoading = true;
    table.setAttribute("aria-busy", "true");
    while (next && all.length < wanted) {
      const n = Math.min(MOST, Math.max(100, wanted - all.length));
      const answer = await fetch(`${address}&after=${encodeURIComponent(next)}&n=${n}&best=${best}`).catch(() => null);
      if (!answer?.ok) {
        told.textContent = "The rows that follow could not be loaded: reload the page.";
        next = "";
        break;
      }
      next = answer.headers.get("x-trimtab-next") || "";
      all.push(...parse(await answer.text()));
      draw(true);
    }
    isLoading = false;
    table.removeAttribute("aria-busy");
  };

  const show = (n) => body.rows[n - from]?.querySelector("a.open").focus({ preventScroll: true });

  document.addEventListener("row", (event) => {
    event.preventDefault();
    const here = document.activeElement?.closest("#runs tr")?.id;
    const known = here ? all.findIndex((entry) => entry.id === here) : at;
    at = Math.max(0, Math.min(all.length - 1, known + event.detail));
    const y = upper.getBoundingClientRect().top + at * rowHeight;
    const head = table.tHead.getBoundingClientRect().height;
    if (y < head || y > innerHeight - 3 * rowHeight) scrollBy({ top: y - (y < head ? head + 8 : innerHeight - 4 * rowHeight), behavior: "instant" });
    draw();
    show(at);
  });

  // Selection.
  let lastPicked = null;
  const tell = () => {
    told.textContent = picked.size === 0 ? "Select runs with their boxes." : `${picked.size} selected`;
    form.classList.toggle("any", picked.size > 0);
  };
  const pick = (id, isOn) => {
    if (isOn) picked.add(id);
    else picked.delete(id);
  };
  body.addEventListener("click", (event) => {
    const input = event.target.closest(".pick input");
    if (input) {
      const n = all.findIndex((entry) => entry.id === input.value);
      const other = event.shiftKey && lastPicked !== null ? lastPicked : n;
      for (let one = Math.min(n, other); one <= Math.max(n, other); one++) pick(all[one].id, input.checked);
      lastPicked = n;
      mark();
      tell();
    }
    const fold = event.target.closest(".fold");
    if (fold && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      turn(fold.closest("tr").id);
    }
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (picked.size === 0) {
      told.textContent = "Select runs first: with their boxes, or with x.";
      return;
    }
    location.href = `/compare?runs=${[...picked].join(",")}`;
  });

  // Groups.
  const turn = async (id) => {
    const n = all.findIndex((entry) => entry.id === id);
    const isOpen = all[n + 1]?.isChild === true;
    let inside = [];
    if (!isOpen) {
      const answer = await fetch(`${address}&best=${best}&parent=${encodeURIComponent(id)}`).catch(() => null);
      if (!answer?.ok) return;
      inside = parse(await answer.text());
    }
    let end = n + 1;
    while (all[end]?.isChild) end++;
    all.splice(n + 1, end - n - 1, ...inside);
    const row = parse(all[n].html.replace(/aria-expanded="\w+"/, `aria-expanded="${!isOpen}"`))[0];
    all[n] = row;
    at = n;
    const view = new URL(location.href);
    const open = view.searchParams.getAll("open").filter((one) => one !== id);
    view.searchParams.delete("open");
    for (const one of isOpen ? open : [...open, id]) view.searchParams.append("open", one);
    history.replaceState(null, "", view);
    draw(true);
    body.rows[n - from]?.querySelector(".fold")?.focus({ preventScroll: true });
  };

  document.getElementById("next")?.closest("p").remove();
  settle();
  draw(true);
  let isAsked = false;
  addEventListener("scroll", () => {
    if (isAsked) return;
    isAsked = true;
    requestAnimationFrame(() => {
      isAsked = false;
      draw();
    });
  }, { passive: true });
  addEventListener("resize", () => {
    settle();
    draw();
  });
  addEventListener("pageshow", () => {
    picked.clear();
    for (const input of body.querySelectorAll(".pick input:checked")) picked.add(input.value);
    tell();
    mark();
  });
})();
