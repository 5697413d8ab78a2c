// Keeps a pipeline run's page up to date while it runs: its state from the event stream, the log of the chosen step once a second.
"use strict";
(() => {
  const stamp = document.getElementById("live");
  const isLive = () => "live" in (document.getElementById("state")?.dataset ?? {});
  const run = document.getElementById("state")?.dataset.run;
  if (!run || !isLive() || !window.EventSource) return;

  // The page again, without what the reader has open: the state above, and of the step its heading, attempts and outputs.
  const refresh = async () => {
    const answer = await fetch(location.href, { headers: { accept: "text/html" } });
    if (!answer.ok) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    const at = document.querySelector("#log")?.scrollTop;
    const wasAtEnd = isAtEnd(document.querySelector("#log"));
    const open = [...document.querySelectorAll("#state details[open], #step details[open]")].length > 0;
    for (const id of ["state", "step"]) {
      const [old, next] = [document.getElementById(id), fresh.getElementById(id)];
      if (old && next && !open) old.replaceWith(next);
    }
    const log = document.querySelector("#log");
    if (log) log.scrollTop = wasAtEnd ? log.scrollHeight : at;
    document.dispatchEvent(new Event("fresh"));
  };

  const isAtEnd = (log) => !log || log.scrollTop + log.clientHeight >= log.scrollHeight - 8;

  const follow = async () => {
    const log = document.getElementById("log");
    if (!log || !("live" in log.dataset) || document.hidden) return;
    const answer = await fetch(log.dataset.href);
    if (!answer.ok) return;
    const text = await answer.text();
    if (text === log.textContent) return;
    const stay = !isAtEnd(log);
    log.textContent = text;
    if (!stay) log.scrollTop = log.scrollHeight;
  };

  const source = new EventSource("/events?topics=pipelines");
  let waiting = null;
  source.addEventListener("events", (message) => {
    if (!message.data.includes(JSON.stringify(run))) return;
    waiting ??= setTimeout(async () => {
      waiting = null;
      await refresh();
      if (!isLive()) {
        source.close();
        clearInterval(timer);
        stamp.hidden = true;
      }
    }, 200);
  });
  const tell = () => {
    stamp.hidden = false;
    stamp.classList.toggle("on", source.readyState === EventSource.OPEN);
    stamp.textContent = source.readyState === EventSource.OPEN ? "live" : "not connected";
  };
  source.addEventListener("open", tell);
  source.addEventListener("error", tell);
  const timer = setInterval(follow, 1000);
  const log = document.getElementById("log");
  if (log) log.scrollTop = log.scrollHeight;
})();
