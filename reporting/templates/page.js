"use strict";
const collator = new Intl.Collator("en", { numeric: true });

function sortBy(table, header) {
  const ascending = header.getAttribute("aria-sort") !== "ascending";
  for (const other of table.querySelectorAll("th[aria-sort]")) other.setAttribute("aria-sort", "none");
  header.setAttribute("aria-sort", ascending ? "ascending" : "descending");
  const isNumber = header.classList.contains("number");
  const key = (row) => row.cells[header.cellIndex].dataset.value;
  const body = table.tBodies[0];
  const rows = [...body.rows].sort((one, other) => {
    const a = key(one), b = key(other);
    // What was not measured is neither good nor bad: last in both directions.
    if (a === "" || b === "") return (a === "") - (b === "");
    const order = isNumber ? Number(a) - Number(b) : collator.compare(a, b);
    return ascending ? order : -order;
  });
  body.append(...rows);
}

for (const button of document.querySelectorAll("th button")) {
  const header = button.closest("th");
  button.addEventListener("click", () => sortBy(header.closest("table"), header));
}

// Paper cannot be unfolded.
let folded = [];
addEventListener("beforeprint", () => {
  folded = [...document.querySelectorAll("details:not([open])")];
  for (const part of folded) part.open = true;
});
addEventListener("afterprint", () => {
  for (const part of folded) part.open = false;
});
