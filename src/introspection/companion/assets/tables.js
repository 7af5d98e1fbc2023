"use strict";
// Tables that sort and filter, and the charts and texts that follow them. Whatever a cell holds is set as text.
(() => {
  const FIRST = 50; // rows that are shown before more are asked for
  const CHOICES = 40; // values of a column that a list can offer
  const LONG = 60; // characters of a value that a list can offer
  const SHORT = 24; // characters of a value that stays in one line

  const made = (name, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(name), properties);
    element.append(...children);
    return element;
  };

  const visible = (text) =>
    text.replace(/\n/g, "↵").replace(/\r/g, "␍").replace(/\t/g, "⇥").replace(/^ +| +$/g, (found) => "␣".repeat(found.length));

  const shown = (value, kind, allDigits) => {
    if (value === null) return "";
    if (kind === "number" && !allDigits) return String(Number(value.toPrecision(4)));
    if (kind === "truth") return value ? "yes" : "no";
    return kind === "text" ? visible(value) : String(value);
  };

  const compare = (a, b) => {
    if (a === b) return 0;
    if (a === null) return 1;
    if (b === null) return -1;
    return typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a - b;
  };

  const LETTERS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"; // as rows.py has them

  // a column's cells, of whatever is shortest: see rows.py
  const unpacked = ({ cells, levels, codes, runs, letters }) => {
    if (cells) return cells;
    if (letters !== undefined) return [...letters].map((letter) => levels[LETTERS.indexOf(letter)]);
    if (codes) return codes.map((code) => levels[code]);
    return runs.flatMap((code, place) => (place % 2 ? [] : Array(runs[place + 1]).fill(levels[code])));
  };

  class Table {
    constructor(section) {
      this.section = section;
      const meanings = [...section.querySelectorAll(".meanings dd")].map((each) => each.textContent);
      this.columns = JSON.parse(section.querySelector("script.rows").textContent).map((column, place) => ({
        ...column,
        meaning: meanings[place],
        cells: unpacked(column),
      }));
      this.count = this.columns[0].cells.length;
      this.order = [...Array(this.count).keys()];
      this.left = this.order;
      this.limit = FIRST;
      this.allDigits = false;
      this.form = section.querySelector("form.filters");
      this.words = this.form.querySelector(".words");
      this.choices = this.columns.flatMap((column) => this.choice(column));
      this.listen();
      this.filter();
    }

    choice(column) {
      if (column.kind !== "text" && column.kind !== "truth") return [];
      const values = [...new Set(column.cells)];
      if (values.length < 2 || values.length > CHOICES || values.some((value) => String(value).length > LONG)) return [];
      const options = values.map((value, place) => made("option", { value: String(place) }, shown(value, column.kind) || "(empty)"));
      const select = made("select", { title: column.meaning }, made("option", { value: "" }, "all"), ...options);
      this.form.querySelector(".choices").append(made("label", {}, `${column.name} `, select));
      return [{ column, values, select }];
    }

    listen() {
      this.form.addEventListener("input", () => this.filter());
      this.form.addEventListener("submit", (event) => event.preventDefault());
      this.form.addEventListener("reset", () => setTimeout(() => this.filter()));
      this.section.querySelectorAll("thead button").forEach((button, place) => {
        button.title = this.columns[place].meaning;
        button.addEventListener("click", () => this.sort(place));
      });
      this.more = this.section.querySelector("button.more");
      this.more.addEventListener("click", () => { this.limit = Infinity; this.show(); });
      const digits = this.section.querySelector("button.digits");
      digits.hidden = !this.columns.some((column) => column.kind === "number");
      digits.addEventListener("click", () => {
        this.allDigits = !this.allDigits;
        digits.setAttribute("aria-pressed", String(this.allDigits));
        this.show();
      });
    }

    sort(place) {
      const headers = this.section.querySelectorAll("thead th");
      const descending = headers[place].getAttribute("aria-sort") === "ascending";
      headers.forEach((header) => header.setAttribute("aria-sort", "none"));
      headers[place].setAttribute("aria-sort", descending ? "descending" : "ascending");
      const { cells } = this.columns[place];
      const sign = descending ? -1 : 1;
      this.order.sort((a, b) => (cells[a] === null || cells[b] === null ? compare(cells[a], cells[b]) : sign * compare(cells[a], cells[b])));
      this.filter();
    }

    filter() {
      const words = this.words.value.toLowerCase().split(/\s+/).filter(Boolean);
      const chosen = this.choices.filter(({ select }) => select.value !== "");
      const texts = this.columns.filter((column) => column.kind === "text");
      this.left = this.order.filter(
        (row) =>
          chosen.every(({ column, values, select }) => column.cells[row] === values[Number(select.value)]) &&
          words.every((word) => texts.some((column) => (column.cells[row] ?? "").toLowerCase().includes(word))),
      );
      this.form.querySelector("output").textContent = `${this.left.length} of ${this.count} rows`;
      this.show();
      this.section.dispatchEvent(new Event("rows"));
    }

    show() {
      const rows = this.left.slice(0, this.limit).map((row) =>
        made("tr", {}, ...this.columns.map((column, place) => {
          const value = column.cells[row];
          const cell = made(place ? "td" : "th", { className: column.kind }, shown(value, column.kind, this.allDigits));
          if (!place) cell.scope = "row";
          if (column.kind === "text") cell.classList.add(value.length > SHORT ? "long" : "short");
          if (column.kind === "number" && value !== null) cell.title = String(value);
          return cell;
        })),
      );
      this.section.querySelector("tbody").replaceChildren(...rows);
      this.more.hidden = this.left.length <= this.limit;
      this.more.textContent = `Show all ${this.left.length} rows`;
    }

    objects() {
      return this.left.map((row) => Object.fromEntries(this.columns.map(({ name, cells }) => [name, cells[row]])));
    }
  }

  const follow = (table, section) => {
    const list = section.querySelector(".texts");
    if (!list) return;
    const prose = list.dataset.column;
    const keys = table.columns.filter((column) => column.key);
    const show = () =>
      list.replaceChildren(...table.objects().slice(0, FIRST).map((row) =>
        made("li", {},
          made("h3", {}, keys.map(({ name, kind }) => shown(row[name], kind)).join(", ")),
          made("p", {}, row[prose] ?? ""))));
    section.addEventListener("rows", show);
    show();
  };

  // told apart by people with any colour vision; seaborn's "colorblind", as in the paper's figures, and lighter in the dark
  const PALETTES = {
    light: ["#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc", "#ca9161", "#fbafe4", "#949494", "#b7aa00", "#56b4e9"],
    dark: ["#4aa8e8", "#f5b041", "#2fd3a2", "#ff8a4c", "#e3a0d8", "#dbb08a", "#ffc9ee", "#b4b8bf", "#ece133", "#9ad7f7"],
  };

  const colours = () => {
    const style = getComputedStyle(document.body);
    const ink = style.color;
    const faint = window.isDark() ? "#4a4f58" : "#d8dade";
    return {
      background: "transparent",
      font: style.fontFamily,
      view: { stroke: faint },
      axis: { labelColor: ink, titleColor: ink, gridColor: faint, domainColor: faint, tickColor: faint, labelFontSize: 12, titleFontSize: 12 },
      range: { category: PALETTES[window.isDark() ? "dark" : "light"] },
      legend: { labelColor: ink, titleColor: ink, labelFontSize: 12, labelLimit: 260, symbolLimit: 40, columns: 6 },
    };
  };

  const draw = (table, section) => {
    const place = section.querySelector(".chart");
    if (!place) return;
    const spec = structuredClone(window.chartsOfTables[place.dataset.spec]);
    let view = null;
    // of no rows no axis can be drawn
    const give = () => {
      const rows = table.objects();
      place.hidden = !rows.length;
      if (rows.length) view?.data("rows", rows).runAsync();
    };
    const embed = async () => {
      if (!table.left.length) return;
      const signals = view ? view.getState({ data: () => false }).signals : {};
      const kept = (spec.params ?? []).filter(({ name }) => name in signals).map((param) => ({ ...param, value: signals[param.name] }));
      const config = colours();
      const narrow = place.clientWidth < 480;
      if (narrow) Object.assign(config.legend, { columns: 2, labelLimit: 100 });
      const params = (spec.params ?? []).map((param) => kept.find(({ name }) => name === param.name) ?? param);
      const theme = window.isDark() ? "dark" : "light";
      const options = { mode: "vega-lite", renderer: "svg", actions: false, ast: true, tooltip: { theme }, logLevel: 1 };
      view?.finalize();
      ({ view } = await window.vegaEmbed(place, { ...spec, params, config, datasets: { rows: table.objects() } }, options));
    };
    section.addEventListener("rows", give);
    document.addEventListener("theme", embed);
    // drawn when it comes near, so that a page opens at once
    const near = new IntersectionObserver((entries) => {
      if (entries.some((entry) => entry.isIntersecting)) { near.disconnect(); embed(); }
    }, { rootMargin: "400px" });
    near.observe(place);
  };

  document.querySelectorAll("section.table").forEach((section) => {
    const table = new Table(section);
    follow(table, section);
    draw(table, section);
  });
})();
