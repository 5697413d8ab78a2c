// Comparing: forms follow their fields, a run is seen wherever it is drawn, and a stretch of an axis picks the runs that pass it.
"use strict";
(() => {
  for (const form of document.querySelectorAll("form.look")) {
    form.addEventListener("change", () => form.requestSubmit());
    const smooth = form.elements.smooth;
    smooth?.addEventListener("input", () => { form.querySelector("output").textContent = smooth.value; });
  }

  const picture = document.querySelector(".parallel > svg");
  if (!picture) return;
  const strands = [...picture.querySelectorAll(".strand")].map((line) => ({
    line,
    at: new Map(line.getAttribute("d").split(/[ML]/).filter(Boolean).map((point) => point.split(" "))),
  }));
  const poles = [...picture.querySelectorAll(".pole")].map((pole) => ({ x: pole.getAttribute("x1"), top: Number(pole.getAttribute("y1")), bottom: Number(pole.getAttribute("y2")) }));
  const stretches = new Map();
  let drawn = null;

  const point = (event) => new DOMPoint(event.clientX, event.clientY).matrixTransform(picture.getScreenCTM().inverse());

  const choose = () => {
    let passing = 0;
    for (const { line, at } of strands) {
      const passes = [...stretches].every(([x, [low, high]]) => at.has(x) && Number(at.get(x)) >= low && Number(at.get(x)) <= high);
      line.classList.toggle("off", !passes);
      passing += passes;
    }
    told.textContent = stretches.size ? `${passing} of ${strands.length} runs pass; press an axis to let go` : "drag along an axis to pick runs";
  };

  const told = document.createElement("span");
  picture.parentElement.querySelector("figcaption").append(told);

  picture.addEventListener("pointerdown", (event) => {
    const { x, y } = point(event);
    const pole = poles.find((one) => Math.abs(Number(one.x) - x) < 14);
    if (!pole) return;
    event.preventDefault();
    picture.setPointerCapture(event.pointerId);
    picture.querySelector(`.stretch[data-x="${pole.x}"]`)?.remove();
    stretches.delete(pole.x);
    const box = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    box.setAttribute("class", "stretch");
    box.dataset.x = pole.x;
    box.setAttribute("x", Number(pole.x) - 8);
    box.setAttribute("width", 16);
    picture.append(box);
    drawn = { pole, box, from: y };
    choose();
  });
  picture.addEventListener("pointermove", (event) => {
    if (!drawn) return;
    const { pole, box, from } = drawn;
    const within = (y) => Math.min(pole.bottom + 4, Math.max(pole.top - 4, y));
    const [low, high] = [from, point(event).y].map(within).sort((a, b) => a - b);
    box.setAttribute("y", low);
    box.setAttribute("height", high - low);
    if (high - low > 3) stretches.set(pole.x, [low, high]);
    choose();
  });
  picture.addEventListener("pointerup", () => {
    if (drawn && !stretches.has(drawn.pole.x)) drawn.box.remove();
    drawn = null;
    choose();
  });
  picture.addEventListener("click", (event) => event.target.closest(".stretch") && event.preventDefault());
  choose();
})();
