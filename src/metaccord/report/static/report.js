"use strict";
(() => {
  const root = document.documentElement;
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const parsed = (id) => JSON.parse(document.getElementById(id).textContent);

  // The theme: as the system has it, light, dark; kept where the browser allows it.
  const NAMES = { "": "as the system", light: "light", dark: "dark" };
  const kept = {
    get: () => { try { return localStorage.getItem("metaccord-theme") || ""; } catch { return ""; } },
    set: (v) => { try { localStorage.setItem("metaccord-theme", v); } catch { /* not kept */ } },
  };
  const button = document.getElementById("theme");
  const dress = (theme) => {
    if (theme) root.dataset.theme = theme; else delete root.dataset.theme;
    document.getElementById("theme-name").textContent = NAMES[theme];
  };
  let theme = kept.get() in NAMES ? kept.get() : "";
  dress(theme);
  button.hidden = false;
  button.addEventListener("click", () => {
    const order = ["", "light", "dark"];
    theme = order[(order.indexOf(theme) + 1) % 3];
    kept.set(theme);
    dress(theme);
  });

  // Numbers as in the rest of the page.
  const shown = (v) => {
    if (v === null || v === undefined) return "–";
    if (v === 0) return "0";
    const size = Math.abs(v);
    const text = size >= 1e6 || size < 1e-4
      ? v.toExponential(2)
      : v.toLocaleString("en", { maximumSignificantDigits: size >= 1000 ? 7 : 4 });
    return text.replace("-", "−");
  };

  // Charts: values under the pointer, or by arrow keys.
  for (const frame of all("[data-chart]")) {
    const found = parsed(frame.dataset.chart);
    const figure = frame.closest("figure");
    const area = frame.querySelector(".area");
    const cursor = frame.querySelector(".cursor");
    const tip = frame.querySelector(".tip");
    const voice = figure.querySelector(".spoken[aria-live]");
    const hidden = new Set();
    const places = [...new Set(found.series.flatMap((s) => s.x))].sort((a, b) => a - b);
    let at = -1;
    const move = (index, aloud) => {
      at = Math.max(0, Math.min(places.length - 1, index));
      const x = places[at];
      const share = (x - found.x[0]) / (found.x[1] - found.x[0]);
      cursor.setAttribute("x1", `${100 * share}%`);
      cursor.setAttribute("x2", `${100 * share}%`);
      cursor.style.visibility = "visible";
      tip.replaceChildren();
      const head = document.createElement("b");
      head.textContent = `${found.place} ${shown(x)}`;
      tip.append(head);
      const told = [head.textContent];
      found.series.forEach((s, i) => {
        if (hidden.has(i)) return;
        const k = s.x.indexOf(x);
        if (k < 0) return;
        const low = s.low.length ? s.low[k] : null;
        const span = low === null ? "" : ` (${shown(low)} to ${shown(s.high[k])})`;
        const line = document.createElement("div");
        const swatch = document.createElement("span");
        swatch.className = `swatch ${frame.querySelector(`[data-series="${i}"]`).classList[0]}`;
        line.append(swatch, `${s.name}: ${shown(s.y[k])}${found.unit}${span}`);
        tip.append(line);
        told.push(`${s.name} ${shown(s.y[k])}${found.unit}${span}`);
      });
      tip.style.visibility = "visible";
      const box = area.getBoundingClientRect();
      const outer = frame.getBoundingClientRect();
      const plot = frame.querySelector(".curves").getBoundingClientRect();
      const left = plot.left - outer.left + share * plot.width;
      const room = outer.width - tip.offsetWidth - 4;
      const beside = left + 14 > room ? left - tip.offsetWidth - 14 : left + 14;
      tip.style.left = `${Math.max(0, Math.min(room, beside))}px`;
      tip.style.top = `${Math.max(0, box.top - outer.top)}px`;
      if (aloud) voice.textContent = told.join("; ");
    };
    const leave = () => { cursor.style.visibility = tip.style.visibility = "hidden"; at = -1; };
    frame.addEventListener("pointermove", (event) => {
      const plot = frame.querySelector(".curves").getBoundingClientRect();
      const x = found.x[0] + ((event.clientX - plot.left) / plot.width) * (found.x[1] - found.x[0]);
      let best = 0;
      places.forEach((p, i) => { if (Math.abs(p - x) < Math.abs(places[best] - x)) best = i; });
      move(best, false);
    });
    frame.addEventListener("pointerleave", leave);
    frame.addEventListener("blur", leave);
    frame.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10 }[event.key];
      if (by) move(at < 0 ? (by > 0 ? 0 : places.length - 1) : at + by, true);
      else if (event.key === "Home") move(0, true);
      else if (event.key === "End") move(places.length - 1, true);
      else if (event.key === "Escape") leave();
      else return;
      event.preventDefault();
    });
    for (const key of all(".legend button", figure)) {
      key.addEventListener("click", () => {
        const i = Number(key.dataset.series);
        const on = hidden.has(i);
        if (on) hidden.delete(i); else hidden.add(i);
        key.setAttribute("aria-pressed", String(on));
        for (const part of all(`.plot [data-series="${i}"]`, figure)) part.classList.toggle("off", !on);
      });
    }
  }

  // The map of tasks: a cell under the pointer or the arrow keys.
  for (const frame of all("[data-map]")) {
    const { names, values, groups } = parsed(frame.dataset.map);
    const cell = frame.querySelector(".cell");
    const said = frame.closest("figure").querySelector(".said");
    const picture = frame.querySelector(".matrix");
    let spot = [0, 0];
    const move = (row, column) => {
      const last = names.length - 1;
      spot = [Math.max(0, Math.min(last, row)), Math.max(0, Math.min(last, column))];
      cell.setAttribute("x", spot[1]);
      cell.setAttribute("y", spot[0]);
      cell.setAttribute("visibility", "visible");
      const value = values[spot[0]][spot[1]];
      const word = value === null ? "no direction" : `cosine ${shown(value)}`;
      const named = (i) => `${names[i]} (group ${groups[i]})`;
      said.textContent = spot[0] === spot[1] ? named(spot[0])
        : `${named(spot[0])} and ${named(spot[1])}: ${word}`;
    };
    picture.addEventListener("pointermove", (event) => {
      const box = picture.getBoundingClientRect();
      const whole = names.length + 0.4;
      const index = (part, size) => Math.floor((part / size) * whole - 0.2);
      move(index(event.clientY - box.top, box.height), index(event.clientX - box.left, box.width));
    });
    frame.addEventListener("keydown", (event) => {
      const by = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
      const step = by[event.key];
      if (!step) return;
      move(spot[0] + step[0], spot[1] + step[1]);
      event.preventDefault();
    });
  }

  // Examples: the slider over the inner steps.
  for (const slider of all(".slider input")) {
    const block = slider.closest(".stepped");
    const at = slider.dataset.at.split(",");
    const said = block.querySelector("output");
    const show = () => {
      const now = slider.value;
      said.textContent = at[now] + (at[now] === slider.dataset.trained ? ", as trained" : "");
      slider.setAttribute("aria-valuetext", `${said.textContent} steps`);
      for (const part of all("[data-step]", block)) {
        const on = part.dataset.step === now;
        if (part instanceof SVGElement) part.setAttribute("visibility", on ? "visible" : "hidden");
        else part.hidden = !on;
      }
    };
    slider.addEventListener("input", show);
    show();
  }

  // Tables: sorted by the column whose head is pressed.
  for (const table of all("table.sortable")) {
    const heads = all("thead th", table);
    const body = table.tBodies[0];
    heads.forEach((head, column) => {
      head.querySelector("button").addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") !== "ascending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const key = (row) => row.cells[column].dataset.key ?? row.cells[column].textContent;
        const order = (a, b) => {
          const [x, y] = [key(a), key(b)];
          if (x === "" || y === "") return x === y ? 0 : x === "" ? 1 : -1;
          const [m, n] = [Number(x), Number(y)];
          const by = Number.isNaN(m) || Number.isNaN(n) ? x.localeCompare(y, "en") : m - n;
          return up ? by : -by;
        };
        body.append(...[...body.rows].sort(order));
      });
    });
  }

  // Copying what to cite.
  for (const copy of all("[data-copy]")) {
    copy.addEventListener("click", async () => {
      const source = document.getElementById(copy.dataset.copy);
      try {
        await navigator.clipboard.writeText(source.textContent);
        copy.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(source);
        copy.textContent = "Selected: copy with Ctrl+C";
      }
    });
  }

  // The menu marks the section in view.
  const links = new Map(all(".menu a").map((a) => [a.hash.slice(1), a]));
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      links.forEach((a) => a.removeAttribute("aria-current"));
      links.get(entry.target.id)?.setAttribute("aria-current", "true");
    }
  }, { rootMargin: "-20% 0px -70% 0px" });
  all("main section").forEach((part) => seen.observe(part));
})();
