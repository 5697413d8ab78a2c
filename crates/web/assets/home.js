// Keeps the loop's page up to date from the event stream. Without it the page is as new as its last load.
"use strict";
(() => {
  const river = document.getElementById("river");
  const groups = document.getElementById("groups");
  const stations = document.getElementById("stations");
  const stamp = document.getElementById("live");
  if (!("live" in river.dataset) || !window.EventSource) return;

  const MOST_LINES = 300;
  let last = river.dataset.head;
  let source = null;
  let patched = Date.now();

  const element = (html) => {
    const template = document.createElement("template");
    template.innerHTML = html;
    return template.content;
  };

  // The group of a thread moves to the top; a line without a thread joins the top group if that has none either.
  const groupOf = (line) => {
    const top = groups.firstElementChild;
    const known = line.thread
      ? [...groups.children].find((group) => group.dataset.thread === line.thread)
      : top && top.dataset.thread === "" ? top : null;
    const group = known || document.createElement("section");
    if (!known) {
      group.className = line.thread ? "group thread" : "group";
      group.dataset.thread = line.thread || "";
      group.append(document.createElement("ol"));
    }
    if (line.heading.trim()) {
      group.querySelector("h3")?.remove();
      group.prepend(element(line.heading));
    }
    if (group !== top) groups.prepend(group);
    return group;
  };

  const trim = () => {
    const lines = groups.querySelectorAll(".line");
    for (let at = lines.length - 1; at >= MOST_LINES; at--) lines[at].remove();
    for (const group of [...groups.children]) if (!group.querySelector(".line")) group.remove();
  };

  const patch = ({ lines, stations: html }) => {
    for (const line of lines) {
      const fresh = element(line.line).querySelector(".line");
      fresh.classList.add("fresh");
      groupOf(line).querySelector("ol").prepend(fresh);
    }
    trim();
    const focused = document.activeElement?.closest("#stations [data-topic]")?.dataset.topic;
    stations.replaceChildren(element(html));
    const topics = new Set(lines.map((line) => line.topic));
    for (const spot of stations.querySelectorAll("[data-topic]")) {
      if (topics.has(spot.dataset.topic)) spot.classList.add("pulse");
      if (spot.dataset.topic === focused) spot.focus();
    }
  };

  const tell = () => {
    const on = source !== null && source.readyState === EventSource.OPEN;
    const ago = Math.round((Date.now() - patched) / 1000);
    stamp.hidden = false;
    stamp.classList.toggle("on", on);
    const text = on ? (ago < 2 ? "live" : `live · newest ${ago < 90 ? `${ago} s` : `${Math.round(ago / 60)} min`} ago`) : "not connected";
    if (stamp.textContent !== text) stamp.textContent = text;
  };

  const open = () => {
    source = new EventSource(`/events?view=home&after=${last}&topics=${encodeURIComponent(river.dataset.topics)}`);
    source.addEventListener("open", tell);
    source.addEventListener("error", tell);
    source.addEventListener("home", (message) => {
      last = message.lastEventId;
      patched = Date.now();
      patch(JSON.parse(message.data));
      tell();
    });
  };

  const close = () => {
    source?.close();
    source = null;
  };

  document.addEventListener("visibilitychange", () => {
    close();
    if (!document.hidden) open();
  });
  window.addEventListener("pagehide", close);
  window.addEventListener("pageshow", () => source ?? open());
  setInterval(tell, 1000);
})();
