// The table of lines that stalled the loop, its filters, and the panel of the chosen one.
"use strict";
lw.key = (site) => [site.basis, site.file, site.line, site.function, site.phase, site.allowed].join("\n");

lw.sites = (changed) => {
  const columns = [
    ["name", "Line", ""], ["total_ms", "Blocked", "figure"], ["count", "Stalls", "figure"], ["p50_ms", "p50", "figure wide"],
    ["max_ms", "Worst", "figure wide"], ["requests_delayed", "Delayed", "figure wide"],
  ];
  const sort = { key: "total_ms", down: true };
  const narrow = matchMedia("(max-width: 900px)"); // then the panel stands below the table
  let page = null, chosen = null;

  const inputs = { text: lw.at("filter-text"), endpoint: lw.at("filter-endpoint"), cause: lw.at("filter-cause"), phase: lw.at("filter-phase") };
  const passes = (site) => {
    const text = inputs.text.value.trim().toLowerCase();
    const blocking = site.blocking || {};
    const words = [site.name, site.file, site.function, site.expression, blocking.file, blocking.function, blocking.expression];
    return (!text || words.some((word) => (word || "").toLowerCase().includes(text)))
      && (!inputs.endpoint.value || site.endpoints.some((each) => each.name === inputs.endpoint.value))
      && (!inputs.cause.value || site.cause === inputs.cause.value)
      && (!inputs.phase.value || (inputs.phase.value === "allowed" ? site.allowed : site.phase === inputs.phase.value));
  };

  const options = (select, every, values) => {
    const before = select.value;
    const all = before && !values.includes(before) ? [before, ...values] : values;
    select.replaceChildren(lw.el("option", { value: "" }, every), ...all.map((value) => lw.el("option", { value }, value)));
    select.value = before;
    select.parentElement.hidden = !values.length && !before;
  };

  const head = () => lw.fill("head", ...columns.map(([key, title, kind]) => lw.el(
    "th",
    { scope: "col", class: kind, "aria-sort": sort.key === key ? (sort.down ? "descending" : "ascending") : "none" },
    lw.el("button", {
      type: "button", "data-key": key,
      onclick: () => {
        sort.down = sort.key === key ? !sort.down : key !== "name";
        sort.key = key;
        draw();
        lw.at("head").querySelector(`[data-key="${key}"]`).focus();
      },
    }, title, sort.key === key ? (sort.down ? " ↓" : " ↑") : ""),
  )));

  const row = (site, index, most) => {
    const whole = page.seconds_watched * 1e3;
    const marks = [site.cause, site.phase === "startup" || site.phase === "shutdown" ? site.phase : "", site.allowed ? "allowed" : "",
      site.shape === "pile-up" ? "pile-up" : "", site.running ? "still running" : ""].filter(Boolean);
    const below = [site.expression, site.endpoints.slice(0, 2).map((each) => each.name).join(", ")].filter(Boolean);
    const [where, ...rest] = site.line ? site.name.split(" ") : [site.name];
    return lw.el("tr", { "data-site": index, class: [index === chosen ? "chosen" : "", site.counted ? "" : "apart"].join(" ").trim(), onclick: () => select(index, narrow.matches) },
      lw.el("td", {},
        lw.el("button", { type: "button", class: "place", "aria-pressed": index === chosen ? "true" : "false", "aria-controls": "detail" },
          lw.el("b", {}, where), " " + rest.join(" ")),
        ...marks.flatMap((mark) => [" ", lw.el("span", { class: "tag" }, mark)]),
        ...below.map((text) => lw.el("span", { class: "below" }, text))),
      lw.el("td", { class: "figure" }, lw.duration(site.total_ms), lw.el("span", { class: "below" }, site.counted ? lw.share(site.total_ms, whole) : "not counted"),
        lw.el("div", { class: "meter" }, lw.el("div", { width: `${(100 * site.total_ms) / most}%` }))),
      lw.el("td", { class: "figure" }, lw.number(site.count)),
      lw.el("td", { class: "figure wide" }, site.basis === "lost" ? "" : lw.duration(site.p50_ms)),
      lw.el("td", { class: "figure wide" }, lw.duration(site.max_ms)),
      lw.el("td", { class: "figure wide" }, site.requests_delayed ? lw.number(site.requests_delayed) : ""));
  };

  const draw = () => {
    head();
    const most = Math.max(1e-9, ...page.sites.map((site) => site.total_ms));
    const taken = page.sites.map((site, i) => [site, i]).filter(([site]) => passes(site));
    const value = ([site]) => site[sort.key];
    taken.sort((a, b) => (value(a) < value(b) ? -1 : value(a) > value(b) ? 1 : 0) * (sort.down ? -1 : 1));
    lw.fill("rows", ...taken.map(([site, i]) => row(site, i, most)));
    const other = page.other_sites;
    if (other && !filtered()) {
      lw.at("rows").append(lw.el("tr", { class: "apart" }, lw.el("td", {}, `… ${lw.counted(other.sites, "more line")}`),
        lw.el("td", { class: "figure" }, lw.duration(other.total_ms)), lw.el("td", { class: "figure" }, lw.number(other.count)),
        lw.el("td", { class: "wide" }), lw.el("td", { class: "figure wide" }, lw.duration(other.max_ms)),
        lw.el("td", { class: "figure wide" }, other.requests_delayed ? lw.number(other.requests_delayed) : "")));
    }
    const counted = taken.filter(([site]) => site.counted);
    const sum = (name) => counted.reduce((total, [site]) => total + site[name], 0);
    lw.at("sites-status").textContent = !page.sites.length ? "No stall was recorded."
      : filtered() ? `${taken.length} of ${lw.counted(page.sites.length, "line")}: ${lw.duration(sum("total_ms"))} in ${lw.counted(sum("count"), "stall")}` : "";
    changed(filtered() ? passes : null);
  };
  const filtered = () => Object.values(inputs).some((input) => input.value.trim());

  const excerpt = (site) => {
    const { at, numbers, lines } = site.excerpt;
    const body = numbers.map((number, i) => {
      const line = lines[i];
      const parts = Array.isArray(line) ? [line[0], line[1] ? lw.el("mark", {}, line[1]) : "", line[2]] : [line];
      return lw.el("span", { class: number === at ? "row at" : "row" }, lw.el("span", { class: "number" }, String(number)), ...parts);
    });
    return lw.el("pre", { tabindex: "0", role: "region", "aria-label": `Source, line ${at}` }, ...body);
  };

  const stack = (site) => {
    const frames = lw.frames(page, site.stack);
    const items = frames.map(([name, file, line, kind, call]) =>
      lw.el("li", { class: kind }, name, " ", lw.el("span", {}, file ? `${file}:${line || "?"}` : "", call ? `  ${call}` : "")));
    const shown = lw.shown(frames, site.stack_start);
    const list = lw.el("ul", { class: "stack" });
    for (let i = 0, end; i < frames.length; i = end) {
      for (end = i + 1; end < frames.length && shown[end] === shown[i];) end++;
      const fold = !page.all_frames && !shown[i] && end - i > 1; // one frame is as short as what would stand for it
      list.append(...(fold ? [folded(frames.slice(i, end), items.slice(i, end))] : items.slice(i, end)));
    }
    return lw.el("details", {}, lw.el("summary", {}, `Stack most often seen (${lw.counted(frames.length, "frame")})`), list);
  };
  const folded = (frames, items) => {
    const libraries = frames.every((frame) => frame[3] === "library");
    const count = lw.counted(items.length, libraries ? "library frame" : "frame");
    return lw.el("li", { class: "fold" }, lw.el("details", {}, lw.el("summary", {}, count), lw.el("ul", { class: "stack" }, ...items)));
  };

  const causes = (site) => {
    const pairs = Object.entries(site.causes_ms || {}).filter(([, ms]) => ms > 0).sort((a, b) => b[1] - a[1]);
    if (!pairs.length) return [];
    const whole = pairs.reduce((sum, [, ms]) => sum + ms, 0);
    const held = site.gil_held_ms !== null && site.causes_ms.native ? `, GIL held ${lw.share(site.gil_held_ms, site.causes_ms.native)} of the time in native code` : "";
    return [
      lw.el("div", { class: "causes", "aria-hidden": "true" }, ...pairs.map(([name, ms]) => lw.el("div", { class: `paint-${name}`, width: `${(100 * ms) / whole}%` }))),
      lw.el("p", { class: "small" }, pairs.map(([name, ms]) => `${name} ${lw.duration(ms)}`).join(" · ") + held),
    ];
  };

  const holder = (site) => {
    const each = site.gil_holder;
    if (!each) return null;
    const text = typeof each === "string" ? each : [each.thread, each.function, each.file && `${each.file}:${each.line}`, each.expression].filter(Boolean).join(" · ");
    return lw.el("p", {}, `The GIL was held by ${text}`);
  };

  const detail = () => {
    const site = page.sites[chosen];
    if (!site) return lw.fill("detail", lw.el("p", { class: "muted" }, page.sites.length ? "Choose a line." : ""));
    const blocking = site.blocking && site.blocking.file && (site.blocking.file !== site.file || site.blocking.line !== site.line);
    const figures = [`${lw.duration(site.total_ms)} in ${lw.counted(site.count, "stall")}`];
    if (site.basis !== "lost" && site.count > 1) figures.push(`p50 ${lw.duration(site.p50_ms)}`, `p99 ${lw.duration(site.p99_ms)}`);
    figures.push(`worst ${lw.duration(site.max_ms)}`);
    if (site.requests_delayed) figures.push(`${lw.counted(site.requests_delayed, "request")} delayed`);
    if (site.shape === "pile-up") figures.push(`a pile of short callbacks, ${lw.number(site.callbacks)} per stall`);
    const endpoints = site.endpoints.map((each) => lw.el("tr", {}, lw.el("td", {}, each.name), lw.el("td", { class: "figure" }, lw.number(each.count)), lw.el("td", { class: "figure" }, lw.duration(each.total_ms))));
    lw.fill("detail",
      lw.el("h3", {}, site.name),
      lw.el("p", { class: "small" }, figures.join(" · ")),
      ...causes(site), holder(site),
      site.basis === "library" ? lw.el("p", { class: "muted small" }, "None of your own code was on the stack: this is the outermost library call.") : null,
      site.changed ? lw.el("p", { class: "notice small" }, "This file was changed after the process had started: lines may have moved.") : null,
      site.excerpt ? excerpt(site) : site.expression ? lw.el("pre", {}, lw.el("span", { class: "row at" }, site.expression)) : null,
      blocking ? lw.el("p", { class: "small" }, `└ ${site.share < 0.5 ? "most often " : ""}${site.blocking.file}:${site.blocking.line || "?"} ${site.blocking.expression || `in ${site.blocking.function}`}`) : null,
      ...site.advice.map((each) => lw.el("div", { class: "advice" }, each.text,
        each.change ? lw.el("pre", { tabindex: "0", role: "region", "aria-label": "The changed line" }, lw.el("span", { class: "row" },
          each.change.line === site.line && each.change.file === site.file ? "" : `# ${each.change.file}:${each.change.line}\n`, each.change.code)) : "")),
      endpoints.length ? lw.el("table", {}, lw.el("thead", {}, lw.el("tr", {}, ...["Endpoint", "Stalls", "Blocked"].map((title, i) => lw.el("th", { scope: "col", class: i ? "figure" : "" }, title)))), lw.el("tbody", {}, ...endpoints)) : null,
      site.endpoints_left_out ? lw.el("p", { class: "muted small" }, `and ${lw.counted(site.endpoints_left_out, "more endpoint")}`) : null,
      site.stack !== null ? stack(site) : null);
  };

  const select = (index, scroll) => {
    if (!page.sites[index]) return;
    chosen = index;
    for (const each of lw.at("rows").querySelectorAll("tr[data-site]")) {
      const mine = Number(each.dataset.site) === index;
      each.classList.toggle("chosen", mine);
      each.querySelector(".place").setAttribute("aria-pressed", String(mine));
    }
    detail();
    if (scroll) lw.at("detail").scrollIntoView({ block: "nearest" });
  };

  for (const input of Object.values(inputs)) input.addEventListener("input", () => draw());
  lw.at("filters").addEventListener("reset", () => setTimeout(draw));
  lw.at("filters").addEventListener("submit", (event) => event.preventDefault());

  return {
    select: (index) => select(index, true),
    render: (newer) => {
      const before = page && page.sites[chosen] ? lw.key(page.sites[chosen]) : null;
      const same = page && before !== null && newer.sites.findIndex((site) => lw.key(site) === before);
      const old = page && page.sites[chosen];
      page = newer;
      const first = page.sites.findIndex((site) => site.counted);
      chosen = same !== null && same >= 0 ? same : first >= 0 ? first : 0;
      options(inputs.endpoint, "all", [...new Set(page.sites.flatMap((site) => site.endpoints.map((each) => each.name)))].sort());
      options(inputs.cause, "all", [...new Set(page.sites.map((site) => site.cause).filter(Boolean))].sort());
      const phases = [...new Set([...page.sites.map((site) => site.phase), ...(page.sites.some((site) => site.allowed) ? ["allowed"] : [])])].sort();
      options(inputs.phase, "all", phases.length > 1 ? phases : []);
      draw();
      // A panel that somebody reads is not drawn anew for nothing: its folds would close.
      if (JSON.stringify(old) !== JSON.stringify(page.sites[chosen])) detail();
    },
  };
};
