"use strict";
(() => {
  // Sort a board by a column: best first, then the other way round; what is missing stays last.
  const sort = (table, at, heading) => {
    const falling = heading.getAttribute("aria-sort") !== "descending" && at > 0
      || heading.getAttribute("aria-sort") === "ascending";
    for (const other of table.tHead.rows[0].cells) other.setAttribute("aria-sort", "none");
    heading.setAttribute("aria-sort", falling ? "descending" : "ascending");
    const value = (row) => row.cells[at].dataset.value;
    const numbers = [...table.tBodies[0].rows].every((row) => !isNaN(Number(value(row))));
    const rows = [...table.tBodies[0].rows].sort((one, other) => {
      const [a, b] = [value(one), value(other)];
      if (a === "" || b === "") return (a === "") - (b === "");
      const order = numbers ? Number(a) - Number(b) : a.localeCompare(b);
      return falling ? -order : order;
    });
    table.tBodies[0].append(...rows);
  };
  for (const table of document.querySelectorAll("table.board")) {
    [...table.tHead.rows[0].cells].forEach((heading, at) => {
      heading.querySelector("button").addEventListener("click", () => sort(table, at, heading));
    });
  }
  // A click anywhere in a row leads where its name leads.
  for (const row of document.querySelectorAll("table.board tbody tr")) {
    const link = row.cells[0].querySelector("a");
    if (!link) continue;
    row.classList.add("leads");
    row.addEventListener("click", (event) => {
      if (!event.target.closest("a") && !String(getSelection())) link.click();
    });
  }
  for (const chosen of document.querySelectorAll(".looks .choose")) {
    const looks = chosen.closest(".looks").querySelectorAll(".look");
    const show = () => looks.forEach((one, at) => { one.hidden = at !== Number(chosen.value); });
    chosen.addEventListener("change", show);
    show();
  }
})();
