// The list: shows the rows that hold what was typed.
"use strict";

(() => {
  const search = document.getElementById("search");
  const found = document.getElementById("found");
  if (!search) return;
  const rows = [...document.querySelectorAll("table.slides tbody tr")];

  search.addEventListener("input", () => {
    const wanted = search.value.trim().toLocaleLowerCase();
    let shown = 0;
    for (const row of rows) {
      row.hidden = !row.textContent.toLocaleLowerCase().includes(wanted);
      shown += row.hidden ? 0 : 1;
    }
    found.textContent = wanted ? `${shown} of ${rows.length}` : "";
  });
})();
