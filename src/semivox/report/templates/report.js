"use strict";

// Tables: a click on a heading sorts by its column; another click turns the order. Empty cells stay last.
function sortTable(table, column, descending) {
  const body = table.tBodies[0];
  const key = (row) => {
    const value = row.cells[column].dataset.value;
    if (value === "") return null;
    return Number.isNaN(Number(value)) ? value : Number(value);
  };
  const rows = Array.from(body.rows, (row) => [key(row), row]);
  rows.sort(([first], [second]) => {
    if (first === null || second === null) return (first === null) - (second === null);
    const order = typeof first === "number" && typeof second === "number" ? first - second
      : String(first).localeCompare(String(second));
    return descending ? -order : order;
  });
  body.append(...rows.map(([, row]) => row));
}

for (const table of document.querySelectorAll("table.sortable")) {
  const heads = Array.from(table.tHead.rows[table.tHead.rows.length - 1].cells);
  heads.forEach((head, column) => {
    const button = head.querySelector("button");
    if (!button) return;
    button.addEventListener("click", () => {
      const before = head.getAttribute("aria-sort");
      const descending = before ? before === "ascending" : head.dataset.first === "descending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      sortTable(table, column, descending);
    });
  });
}

// Contours: a chip of the legend switches its method on and off in all pictures.
for (const chip of document.querySelectorAll("button.chip[data-row]")) {
  chip.addEventListener("click", () => {
    const shown = chip.getAttribute("aria-pressed") !== "true";
    chip.setAttribute("aria-pressed", String(shown));
    for (const path of document.querySelectorAll(`.plane path[data-row="${chip.dataset.row}"]`)) {
      path.toggleAttribute("hidden", !shown);
    }
  });
}

// The contents bar marks the section that is being read.
const links = new Map(Array.from(document.querySelectorAll("nav.contents a"), (link) => [link.hash.slice(1), link]));
const watcher = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (!entry.isIntersecting) continue;
    links.forEach((link) => link.classList.remove("here"));
    const link = links.get(entry.target.id);
    if (!link) continue;
    link.classList.add("here");
    const list = link.closest("ul");
    list.scrollTo({ left: link.offsetLeft - list.clientWidth / 2, behavior: "smooth" });
  }
}, { rootMargin: "-15% 0px -75% 0px" });
document.querySelectorAll("section[id]").forEach((section) => watcher.observe(section));

// Paper has no disclosure triangles.
window.addEventListener("beforeprint", () => {
  document.querySelectorAll("details").forEach((details) => { details.open = true; });
});
