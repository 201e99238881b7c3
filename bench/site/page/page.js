// Sorting, filtering, paging, charts, copying and the theme. No library, no network: works from file://.
"use strict";

const PAGE_ROWS = 50;
const $ = (selector, root = document) => root.querySelector(selector);
const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function say(text) {
  const live = $("#live");
  live.textContent = "";
  requestAnimationFrame(() => { live.textContent = text; });
}

function setUpTheme() {
  const button = $("#theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (document.documentElement.dataset.theme || (system.matches ? "dark" : "light")) === "dark";
  const show = () => { button.textContent = isDark() ? "Light theme" : "Dark theme"; };
  button.hidden = false;
  button.addEventListener("click", () => {
    const theme = isDark() ? "light" : "dark";
    document.documentElement.dataset.theme = theme;
    try { localStorage.setItem("seqdis-theme", theme); } catch { /* it lasts for this page only */ }
    show();
  });
  system.addEventListener("change", show);
  show();
}

// Numbers before texts, blanks last in both directions.
function compare(a, b, sign) {
  const emptyA = a === "" || a === null, emptyB = b === "" || b === null;
  if (emptyA || emptyB) return emptyA - emptyB;
  const x = Number(a), y = Number(b);
  if (!Number.isNaN(x) && !Number.isNaN(y)) return sign * (x - y);
  return sign * String(a).localeCompare(String(b), undefined, { numeric: true });
}

function headers(table, onSort) {
  const cells = $$("thead th", table);
  cells.forEach((cell, index) => {
    const button = $("button", cell);
    if (!button) return;
    button.addEventListener("click", () => {
      const first = cell.dataset.first || "ascending";
      const other = first === "ascending" ? "descending" : "ascending";
      const order = cell.getAttribute("aria-sort") === first ? other : first;
      cells.forEach((each) => each.removeAttribute("aria-sort"));
      cell.setAttribute("aria-sort", order);
      onSort(index, order === "ascending" ? 1 : -1);
      say(`Sorted by ${button.textContent.trim()}, ${order}.`);
    });
  });
}

// A long table shows PAGE_ROWS rows at a time. `render(from, to)` shows them, `total()` counts.
class Pager {
  constructor(after, total, render) {
    this.page = 0; this.total = total; this.render = render;
    this.text = element("span", { class: "muted" });
    this.back = element("button", { type: "button" }, "Previous");
    this.next = element("button", { type: "button" }, "Next");
    this.bar = element("nav", { class: "pager", "aria-label": "Pages of the table" }, this.back, this.next, this.text);
    this.back.addEventListener("click", () => this.show(this.page - 1));
    this.next.addEventListener("click", () => this.show(this.page + 1));
    after.after(this.bar);
  }
  show(page) {
    const total = this.total(), pages = Math.max(1, Math.ceil(total / PAGE_ROWS));
    this.page = Math.min(Math.max(page, 0), pages - 1);
    const from = this.page * PAGE_ROWS, to = Math.min(total, from + PAGE_ROWS);
    this.render(from, to);
    this.text.textContent = total ? `${from + 1} to ${to} of ${total} rows` : "no row";
    this.back.disabled = this.page === 0;
    this.next.disabled = this.page >= pages - 1;
    this.bar.hidden = pages === 1 && total <= PAGE_ROWS;
  }
}

class StaticTable {
  constructor(table) {
    this.body = $("tbody", table);
    this.rows = $$("tr", this.body);
    this.shown = this.rows;
    if (this.rows.length > PAGE_ROWS) {
      this.pager = new Pager(table.closest(".scroll"), () => this.shown.length, (from, to) => {
        const visible = new Set(this.shown.slice(from, to));
        this.rows.forEach((row) => { row.hidden = !visible.has(row); });
      });
      this.pager.show(0);
    }
    headers(table, (index, sign) => this.sort(index, sign));
  }
  sort(index, sign) {
    const key = (row) => row.cells[index].dataset.value ?? row.cells[index].textContent.trim();
    const keyed = this.rows.map((row) => [key(row), row]);
    keyed.sort((a, b) => compare(a[0], b[0], sign));
    this.rows = keyed.map(([, row]) => row);
    this.body.append(...this.rows);
    this.filter(this.test);
  }
  filter(test) {
    this.test = test;
    this.shown = test ? this.rows.filter(test) : this.rows;
    if (this.pager) { this.pager.show(0); return this.shown.length; }
    const visible = new Set(this.shown);
    this.rows.forEach((row) => { row.hidden = !visible.has(row); });
    return this.shown.length;
  }
}

function fillSelect(select, values) {
  for (const value of [...new Set(values)].sort()) select.append(element("option", { value }, value));
  select.closest("label").hidden = select.options.length < 3;
}

function setUpTables() {
  const tables = new Map($$("table.sortable").map((table) => [table, new StaticTable(table)]));
  const bar = $("#filters");
  if (!bar || $("#cells")) return;
  const boards = $$(".board[data-dataset]");
  const selects = $$("select", bar), text = $("input", bar), count = $("#count");
  for (const select of selects) fillSelect(select, boards.map((board) => board.dataset[select.name]));
  const apply = () => {
    const words = text.value.toLowerCase().split(/\s+/).filter(Boolean);
    let rows = 0, kept = 0;
    for (const board of boards) {
      const fits = selects.every((select) => !select.value || board.dataset[select.name] === select.value);
      const matches = (row) => words.every((word) => row.dataset.text.includes(word));
      const found = tables.get($("table.sortable", board)).filter(words.length ? matches : null);
      board.hidden = !fits || found === 0;
      if (!board.hidden) { kept += 1; rows += found; }
      $$(".bar", board).forEach((each) => { each.hidden = !words.every((word) => each.dataset.text.includes(word)); });
    }
    count.textContent = `${rows} ${rows === 1 ? "row" : "rows"} in ${kept} ${kept === 1 ? "table" : "tables"}`;
  };
  bar.addEventListener("input", apply);
  $("#clear").addEventListener("click", () => {
    selects.forEach((select) => { select.value = ""; });
    text.value = "";
    apply();
  });
  bar.hidden = false;
  apply();
}

function setUpChart(chart) {
  const data = JSON.parse($(`#${CSS.escape(chart.dataset.json)}`).textContent);
  const select = $("select", chart);
  if (!select) return;
  const items = new Map($$(".bar", chart).map((bar) => [bar.dataset.row, bar]));
  const draw = () => {
    const column = data.columns.find((each) => each.key === select.value);
    const share = (value) => `${Math.min(100, Math.max(0, (value / column.top) * 100))}%`;
    for (const row of data.rows) {
      const bar = items.get(row.id), value = row.values[column.key];
      if (!bar) continue;
      const line = (selector, from, to) => {
        const found = $(selector, bar);
        found.setAttribute("x1", share(from)); found.setAttribute("x2", share(to));
      };
      const ranged = value && value.low !== null;
      $(".fill", bar).setAttribute("width", value ? share(value.mean) : "0");
      for (const each of $$(".whisker", bar)) each.setAttribute("visibility", ranged ? "visible" : "hidden");
      if (ranged) {
        line(".whisker.body", value.low, value.high);
        line(".whisker.low", value.low, value.low);
        line(".whisker.high", value.high, value.high);
      }
      $(".point", bar).textContent = value ? value.text : "n/a";
      $(".ci", bar).textContent = value ? value.between : "";
      $("svg", bar).setAttribute("aria-label", `${row.title}: ${value ? value.spoken : "not available"}`);
    }
    const sign = column.direction < 0 ? 1 : -1;
    const order = [...data.rows].sort((a, b) => compare(a.values[column.key]?.mean ?? "", b.values[column.key]?.mean ?? "", sign));
    $(".bars", chart).append(...order.map((row) => items.get(row.id)).filter(Boolean));
    $$(".axis text", chart).forEach((tick, index) => { tick.textContent = column.ticks[index]; });
    say(`The chart shows ${column.label}.`);
  };
  select.addEventListener("change", draw);
  select.closest("label").hidden = false;
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = element("textarea", { class: "visually-hidden", "aria-hidden": "true" });
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}

function setUpCopy() {
  for (const button of $$("button[data-copy]")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      const data = JSON.parse($(`#${CSS.escape(button.dataset.json)}`).textContent);
      const done = await copy(data[button.dataset.copy]);
      const before = button.textContent;
      button.textContent = done ? "Copied" : "Copying failed";
      say(button.textContent);
      setTimeout(() => { button.textContent = before; }, 1500);
      button.focus();
    });
  }
}

function setUpClips() {
  const button = $("#motion");
  if (!button) return;
  let moving = !matchMedia("(prefers-reduced-motion: reduce)").matches;
  const show = () => {
    for (const image of $$("img[data-moving]")) {
      const wanted = moving ? image.dataset.moving : image.dataset.still;
      if (image.getAttribute("src") !== wanted) image.setAttribute("src", wanted);
    }
    button.textContent = moving ? "Pause clips" : "Play clips";
    button.setAttribute("aria-pressed", String(!moving));
  };
  button.hidden = false;
  button.addEventListener("click", () => { moving = !moving; show(); });
  show();
}

// Thousands of rows from cells.js, one page of them in the document.
function setUpCells() {
  const table = $("#cells");
  if (!table || !window.seqdisCells) return;
  const { columns, rows } = window.seqdisCells;
  const body = $("tbody", table), bar = $("#filters"), count = $("#count"), text = $("input", bar);
  const selects = $$("select", bar);
  const texts = rows.map((row) => row.join(" ").toLowerCase());  // the address holds the short names
  let order = rows.map((_, index) => index), shown = order;
  const position = Object.fromEntries(columns.map((name, index) => [name, index]));
  const draw = (from, to) => {
    body.replaceChildren(...shown.slice(from, to).map((index) => {
      const row = rows[index];
      const link = element("a", { href: row[position.href] });
      link.textContent = row[position.method];
      const made = element("tr", {}, element("th", { scope: "row" }, link));
      for (const name of columns.slice(2)) {
        const cell = element("td", typeof row[position[name]] === "number" ? { class: "number" } : {});
        if (name === "source" || name === "status") {
          cell.append(element("span", { class: `badge ${/^[a-z]+$/.test(row[position[name]]) ? row[position[name]] : ""}` },
            String(row[position[name]] ?? "")));
        } else cell.textContent = name === "value" ? row[position[name]]?.toFixed(1) ?? "" : row[position[name]] ?? "";
        made.append(cell);
      }
      return made;
    }));
  };
  const pager = new Pager(table.closest(".scroll"), () => shown.length, draw);
  const apply = () => {
    const words = text.value.toLowerCase().split(/\s+/).filter(Boolean);
    shown = order.filter((index) => selects.every((each) => !each.value || String(rows[index][position[each.name]]) === each.value)
      && words.every((word) => texts[index].includes(word)));
    pager.show(0);
    count.textContent = `${shown.length} of ${rows.length} cells`;
  };
  for (const select of selects) fillSelect(select, rows.map((row) => String(row[position[select.name]])));
  headers(table, (column, sign) => {
    const at = column + 1;
    order = [...order].sort((a, b) => compare(rows[a][at], rows[b][at], sign));
    apply();
  });
  bar.addEventListener("input", apply);
  $("#clear").addEventListener("click", () => {
    selects.forEach((select) => { select.value = ""; });
    text.value = "";
    apply();
  });
  bar.hidden = false;
  apply();
}

setUpTheme();
setUpTables();
setUpCells();
$$(".chart[data-json]").forEach(setUpChart);
setUpCopy();
setUpClips();
