"use strict";
const map = document.getElementById("map");
const tip = document.getElementById("tip");
const [said, noted] = tip.children;

function show(event) {
  const dot = event.target;
  if (!dot.dataset || dot.dataset.t === undefined) { tip.hidden = true; return; }
  said.textContent = dot.dataset.t;
  noted.textContent = dot.dataset.n;
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  const left = Math.min(event.clientX + 14, window.innerWidth - box.width - 8);
  const below = event.clientY + 18;
  const top = below + box.height < window.innerHeight ? below : event.clientY - box.height - 14;
  tip.style.left = Math.max(8, left) + "px";
  tip.style.top = top + "px";
}

if (map) {
  for (const name of ["pointerover", "pointermove", "pointerdown"]) map.addEventListener(name, show);
  map.addEventListener("pointerleave", () => { tip.hidden = true; });
  window.addEventListener("scroll", () => { tip.hidden = true; }, { passive: true });
}
const chips = document.querySelectorAll(".chip");
for (const chip of chips) {
  chip.addEventListener("click", () => {
    const wasOn = chip.getAttribute("aria-pressed") === "true";
    for (const other of chips) other.setAttribute("aria-pressed", "false");
    map.classList.toggle("one", !wasOn);
    chip.setAttribute("aria-pressed", String(!wasOn));
    for (const part of map.querySelectorAll(".on")) part.classList.remove("on");
    if (!wasOn) for (const part of map.querySelectorAll(".k" + chip.dataset.k)) part.classList.add("on");
  });
}
