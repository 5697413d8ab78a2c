// Sends what the form holds as one row, and shows the answer.
"use strict";
(() => {
  const form = document.querySelector("form.try");
  if (!form) return;
  const shown = form.querySelector(".answer");
  const value = (input) => {
    if (input.type === "checkbox") return input.checked;
    if (input.value === "") return null;
    return input.type === "number" ? Number(input.value) : input.value;
  };
  const body = () => {
    if (form.elements.rows?.tagName === "TEXTAREA") return { inputs: JSON.parse(form.elements.rows.value) };
    const inputs = [...form.querySelectorAll("input[name]")];
    return { dataframe_records: [Object.fromEntries(inputs.map((input) => [input.name, value(input)]))] };
  };
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    shown.hidden = false;
    shown.textContent = "…";
    const began = performance.now();
    try {
      const answer = await fetch(form.dataset.post, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body()) });
      const told = await answer.json();
      const took = Math.round(performance.now() - began);
      shown.textContent = answer.ok ? `${JSON.stringify(told, null, 2)}\n${took} ms` : [`${answer.status} ${told.code ?? ""}: ${told.message ?? ""}`, told.hint].filter(Boolean).join("\n");
    } catch (error) {
      shown.textContent = error instanceof SyntaxError ? `the rows are no JSON: ${error.message}` : `no answer: ${error.message}`;
    }
  });
})();
