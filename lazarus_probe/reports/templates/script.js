"use strict";
(() => {
  const table = document.getElementById("verdicts");
  const form = document.getElementById("filters");
  const body = table.tBodies[0];
  const lines = [...body.rows];
  const topics = lines.filter((row) => row.matches(".topic"));
  const rows = lines.filter((row) => !row.matches(".topic"));
  const chips = [...document.querySelectorAll("[data-chip]")];
  const ranks = chips.map((chip) => chip.dataset.chip);
  const caseOf = new Map(rows.map((row) => [row, document.getElementById(row.querySelector("a").hash.slice(1))]));
  const words = new Map(rows.map((row) => {
    const claim = caseOf.get(row)?.closest(".claim");
    const parts = [row, ...(claim ? claim.querySelectorAll(":scope > p, :scope > .case > .why") : [])];
    return [row, parts.map((part) => part.textContent).join(" ").toLowerCase()];
  }));
  const heads = [...table.tHead.rows[0].cells];
  const column = (key) => heads.findIndex((head) => head.dataset.key === key);
  const textOf = (row, key) => row.cells[column(key)].textContent.trim();
  const verdictOf = (row) => row.querySelector(".v").textContent;
  const natural = new Intl.Collator("en", { numeric: true });
  const names = ["verdict", "model", "family", "text", "sort"];
  let state = {};

  const readHash = () => Object.fromEntries(
    [...new URLSearchParams(location.hash.slice(1))].filter(([name, value]) => names.includes(name) && value));
  const isState = () => !location.hash || location.hash.includes("=");
  const verdicts = () => (state.verdict ? state.verdict.split(",") : []);

  const matches = (row) =>
    (!state.verdict || verdicts().includes(verdictOf(row))) &&
    (!state.model || textOf(row, "model") === state.model) &&
    (!state.family || textOf(row, "family") === state.family) &&
    (!state.text || state.text.toLowerCase().split(/\s+/).every((word) => words.get(row).includes(word)));

  const valueOf = (row, index, key) => {
    if (key === "verdict") return ranks.indexOf(verdictOf(row));
    const cell = row.cells[index];
    if (!heads[index].classList.contains("n")) return cell.textContent.trim();
    const number = parseFloat(cell.textContent.replace("\u2212", "-").replace(/^< /, ""));
    return Number.isNaN(number) ? null : number;
  };

  const sorted = () => {
    const descending = state.sort?.startsWith("-");
    const key = state.sort?.replace("-", "");
    const index = column(key);
    heads.forEach((head, at) => {
      if (head.dataset.key) {
        head.setAttribute("aria-sort", at !== index ? "none" : descending ? "descending" : "ascending");
      }
    });
    if (!key || index < 0) return lines;
    const keyed = rows.map((row) => [valueOf(row, index, key), row]);
    const order = (a, b) => (typeof a === "number" ? a - b : natural.compare(a, b));
    keyed.sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null);
      return descending ? order(b, a) : order(a, b);
    });
    return keyed.map(([, row]) => row);
  };

  const show = () => {
    body.append(...sorted());
    let shown = 0;
    for (const row of rows) {
      row.hidden = !matches(row);
      shown += !row.hidden;
      const found = caseOf.get(row);
      if (found) found.hidden = row.hidden;
    }
    for (const topic of topics) {
      let row = topic.nextElementSibling;
      while (row?.hidden && !row.matches(".topic")) row = row.nextElementSibling;
      topic.hidden = Boolean(state.sort) || !row || row.matches(".topic");
    }
    for (const claim of document.querySelectorAll(".claim")) {
      claim.hidden = ![...claim.querySelectorAll(".case")].some((found) => !found.hidden);
    }
    for (const chip of chips) {
      if (verdicts().includes(chip.dataset.chip)) chip.setAttribute("aria-current", "true");
      else chip.removeAttribute("aria-current");
    }
    for (const field of form.querySelectorAll("[name]")) {
      if (document.activeElement !== field) field.value = state[field.name] ?? "";
    }
    form.querySelector("output").textContent = `${shown} of ${rows.length}`;
  };

  const change = (changes) => {
    state = Object.fromEntries(Object.entries({ ...state, ...changes }).filter(([, value]) => value));
    const hash = new URLSearchParams(state).toString();
    history.replaceState(null, "", `#${hash.replaceAll("%2C", ",")}`);
    show();
  };

  const reveal = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const folded = target?.querySelector("details");
    if (folded) folded.open = true;
    target?.scrollIntoView();
  };

  const onHash = () => {
    if (isState()) { state = readHash(); show(); } else reveal();
  };

  for (const head of heads.filter((each) => each.dataset.key)) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => {
      const key = head.dataset.key;
      change({ sort: state.sort === key ? `-${key}` : state.sort === `-${key}` ? "" : key });
    });
    head.append(button);
  }
  for (const chip of chips) {
    chip.addEventListener("click", (event) => {
      event.preventDefault();
      const chosen = new Set(verdicts());
      if (!chosen.delete(chip.dataset.chip)) chosen.add(chip.dataset.chip);
      change({ verdict: ranks.filter((rank) => chosen.has(rank)).join(",") });
    });
  }
  form.addEventListener("input", (event) => change({ [event.target.name]: event.target.value }));
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => change(Object.fromEntries(names.map((name) => [name, ""]))));

  // What stands in a cell of a map: where a pointer is, where it was clicked, and where the arrow keys lead.
  for (const grid of document.querySelectorAll(".grid[data-box]")) {
    const [left, top, wide, high] = grid.dataset.box.split(",").map(Number);
    const [names, heads] = [JSON.parse(grid.dataset.rows), JSON.parse(grid.dataset.columns)];
    const values = grid.dataset.values.split(";").map((row) => row.split(","));
    const frame = grid.querySelector("path").cloneNode();
    const said = document.createElement("output");
    const figure = grid.closest("figure");
    let pinned = null;
    said.className = "cell";
    frame.setAttribute("class", "at");
    figure.querySelector("figcaption").prepend(said);
    const tell = (cell) => {
      if (!cell) { frame.remove(); said.textContent = ""; return; }
      const [row, column] = cell;
      frame.setAttribute("d", `M${left + wide * column} ${top + high * row}h${wide}v${high}h${-wide}z`);
      grid.append(frame);
      said.textContent = `${names[row]}, ${heads[column]}: ${values[row][column].replace("-", "\u2212")}`;
    };
    const cellAt = (event) => {
      const box = grid.getBoundingClientRect();
      const row = Math.floor(((event.clientY - box.top) * (grid.viewBox.baseVal.height / box.height) - top) / high);
      const column = Math.floor(((event.clientX - box.left) * (grid.viewBox.baseVal.width / box.width) - left) / wide);
      return values[row]?.[column] === undefined ? null : [row, column];
    };
    grid.addEventListener("pointermove", (event) => tell(cellAt(event) ?? pinned));
    grid.addEventListener("pointerleave", () => tell(pinned));
    grid.addEventListener("click", (event) => tell(pinned = cellAt(event)));
    const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    grid.closest(".scroll").addEventListener("keydown", (event) => {
      const step = steps[event.key];
      if (!step) return;
      event.preventDefault();
      const next = pinned ? [pinned[0] + step[0], pinned[1] + step[1]] : [0, 0];
      if (values[next[0]]?.[next[1]] !== undefined) tell(pinned = next);
    });
  }

  const unfold = document.getElementById("unfold");
  unfold?.addEventListener("click", () => {
    const folds = [...document.querySelectorAll(".case details")];
    const open = folds.some((fold) => !fold.open);
    for (const fold of folds) fold.open = open;
    unfold.textContent = open ? "Fold all" : "Unfold all";
  });
  if (unfold) unfold.hidden = false;
  form.hidden = false;
  addEventListener("hashchange", onHash);
  show();
  onHash();
})();
