// The keyboard, the same on every page: rows, search, help. A page without rows has the rest.
"use strict";
(() => {
  const help = document.getElementById("help");
  const find = document.querySelector(".find input");
  const PLACES = { l: "/", e: "/experiments", r: "/runs", m: "/models", i: "/incidents", p: "/pipelines", d: "/gates", s: "/serving", c: "/compute" };
  let isGoing = false;

  const rows = () => [...document.querySelectorAll("table.dense tbody tr")].filter((row) => row.querySelector("a.open"));
  const current = () => document.activeElement?.closest("tr");

  // A table that holds only a window of its rows answers for itself.
  const move = (by) => {
    if (!document.dispatchEvent(new CustomEvent("row", { detail: by, cancelable: true }))) return;
    const all = rows();
    const at = all.indexOf(current());
    all[Math.min(all.length - 1, Math.max(0, at + by))]?.querySelector("a.open").focus();
  };

  const focus = (field) => {
    field?.focus();
    field?.select();
  };

  const on = (key) => {
    switch (key) {
      case "j": return move(1);
      case "k": return move(-1);
      case "x": return current()?.querySelector(".pick input")?.click();
      case "e": return current()?.querySelector(".fold")?.click();
      case "c": return document.getElementById("pickform")?.requestSubmit();
      case "/": return focus(document.getElementById("filter") || find);
      case "?": return help.showModal();
      case "g": isGoing = true; setTimeout(() => { isGoing = false; }, 1500); return true;
      default: return false;
    }
  };

  document.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key === "k") {
      event.preventDefault();
      return focus(find);
    }
    if (event.ctrlKey || event.metaKey || event.altKey || help.open) return;
    const field = event.target.closest("input:not([type=checkbox]):not([type=range]), select, textarea");
    if (field) {
      if (event.key === "Escape") field.blur();
      return;
    }
    if (isGoing && PLACES[event.key]) {
      event.preventDefault();
      location.href = PLACES[event.key];
      return;
    }
    if (on(event.key) !== false) event.preventDefault();
  });

  // Buttons that do what the command beside them does.
  const arm = () => document.querySelectorAll("button[data-post]").forEach((button) => { button.hidden = false; });
  arm();
  document.addEventListener("fresh", arm);
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button[data-post]");
    if (!button) return;
    const told = button.parentElement.querySelector(".told");
    button.disabled = true;
    try {
      const reason = button.parentElement.querySelector("input[name=reason]")?.value;
      const actor = button.parentElement.querySelector("input[name=actor]")?.value.trim();
      const body = { ...JSON.parse(button.dataset.body || "{}"), ...(reason ? { reason } : {}) };
      const answer = await fetch(button.dataset.post, {
        method: "POST", headers: { "content-type": "application/json", ...(actor ? { "x-trimtab-actor": actor } : {}) }, body: JSON.stringify(body),
      });
      const said = await answer.json().catch(() => ({}));
      if (!answer.ok) throw new Error([said.detail || said.title || answer.statusText, said.hint].filter(Boolean).join("; "));
      if (said.id && button.dataset.post.includes("/pipeline-runs/")) location.href = `/pipeline-runs/${encodeURIComponent(said.id)}`;
      else location.reload();
    } catch (error) {
      told.textContent = error.message;
      button.disabled = false;
    }
  });

  // Fields that say nothing stay out of the address.
  document.addEventListener("submit", (event) => {
    if (event.target.method !== "get") return;
    for (const field of event.target.elements) if (field.name && field.value === "") field.disabled = true;
  });
  addEventListener("pageshow", () => document.querySelectorAll("form :disabled").forEach((field) => { field.disabled = false; }));
  for (const select of document.querySelectorAll(".filter select")) select.addEventListener("change", () => select.form.requestSubmit());
})();
