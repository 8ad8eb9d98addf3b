"use strict";
(() => {
  const table = document.getElementById("verdicts");
  const form = document.getElementById("filters");
  const body = table.tBodies[0];
  const rows = [...body.rows];
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
    if (index < 0) return rows;
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
