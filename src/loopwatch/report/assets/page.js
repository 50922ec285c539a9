// Puts the page together, once from the data in it, or again and again from a server's events.
"use strict";
(() => {
  let page = null;
  const flame = lw.flame();
  const timeline = lw.timeline((site) => sites.select(site));
  let fresh = false;
  const sites = lw.sites((passes) => {
    timeline.filter((site) => !passes || Boolean(page.sites[site] && passes(page.sites[site])));
    if (!fresh) flame.filter(passes);
    else { fresh = false; flame.render(page); flame.filter(passes); if (!passes) flame.draw(); }
  });

  const tile = (title, value, more, main) => lw.el("div", { class: main ? "main" : "" }, lw.el("dt", {}, title),
    lw.el("dd", {}, value, more ? lw.el("small", {}, more) : null));

  const summary = () => {
    const { totals } = page;
    const whole = page.seconds_watched * 1e3;
    const { loops } = page.counts;
    lw.fill("summary",
      tile("Blocked", lw.duration(totals.stalled_ms), `${lw.share(totals.stalled_ms, whole)} of ${loops > 1 ? `${loops} loops' time` : "the loop's time"}`, totals.stalls > 0),
      tile("Stalls", lw.number(totals.stalls), page.run.threshold_ms ? `of at least ${lw.duration(page.run.threshold_ms)}` : ""),
      tile("Worst", lw.duration(totals.worst_ms)),
      tile("Requests delayed", lw.number(totals.requests_delayed), totals.requests ? `of ${lw.number(totals.requests)}` : ""),
      tile("Loop busy", lw.share(page.busy_seconds * 1e3, whole)),
      totals.stalls_startup ? tile("Start-up", lw.duration(totals.startup_ms), `${lw.counted(totals.stalls_startup, "stall")}, not counted`) : null,
      totals.stalls_allowed ? tile("Allowed", lw.duration(totals.allowed_ms), `${lw.counted(totals.stalls_allowed, "stall")}, not counted`) : null);
  };

  const running = () => {
    const column = (name) => page.stalls.columns.indexOf(name);
    const open = page.stalls.rows.filter((row) => ["running", "gone"].includes(row[column("state")])).slice(0, 5);
    lw.fill("running", ...open.map((row) => {
      const site = page.sites[row[column("site")]];
      const where = site ? `, in ${site.name}${site.expression ? `: ${site.expression}` : ""}` : "";
      const long = lw.duration(row[column("duration_ms")]);
      const pid = row[column("pid")];
      return lw.el("p", {}, lw.el("b", {}, row[column("state")] === "running" ? "Still running: " : "Never ended: "),
        row[column("state")] === "running" ? `pid ${pid} has answered nobody for ${long}${where}` : `pid ${pid} was stuck for at least ${long} until the process was gone${where}`);
    }));
  };

  const table = (id, titles, rows) => lw.fill(id,
    lw.el("thead", {}, lw.el("tr", {}, ...titles.map(([title, kind]) => lw.el("th", { scope: "col", class: kind }, title)))),
    lw.el("tbody", {}, ...rows.map((row) => lw.el("tr", {}, ...row.map((cell, i) => lw.el("td", { class: titles[i][1] }, cell))))));

  const longest = () => {
    const column = (name) => page.stalls.columns.indexOf(name);
    const start = Date.parse(page.run.started) / 1e3;
    table("longest", [["Length", "figure"], ["At", "figure"], ["Line", ""], ["Endpoint", ""], ["Cause", ""], ["Delayed", "figure"], ["Pid", "figure"]],
      page.stalls.rows.slice(0, 50).map((row) => {
        const site = row[column("site")];
        const open = page.sites[site] && lw.el("button", { type: "button", class: "place", onclick: () => sites.select(site) }, page.sites[site].name);
        return [lw.duration(row[column("duration_ms")]), lw.duration((row[column("start")] - start) * 1e3), open || "a line that is not shown",
          row[column("endpoint")], row[column("cause")] || "", lw.number(row[column("requests_delayed")]), String(row[column("pid")])];
      }));
  };

  const processes = () => {
    const rows = page.processes.flatMap((each) => (each.loops.length ? each.loops : [null]).map((loop) => [
      String(each.pid), each.role, `Python ${each.python}`, each.state, loop ? `${loop.kind} in ${loop.thread || "a thread"}` : "no event loop",
      loop ? lw.duration(loop.seconds * 1e3) : "", loop ? lw.share(loop.utilization, 1) : "", loop ? lw.number(loop.stalls) : "", loop ? lw.duration(loop.stalled_ms) : "",
    ]));
    table("processes", [["Pid", "figure"], ["Role", ""], ["Interpreter", ""], ["State", ""], ["Loop", ""], ["Watched", "figure"], ["Busy", "figure"], ["Stalls", "figure"], ["Blocked", "figure"]], rows);
  };

  const notes = () => {
    const texts = [...page.left_out];
    for (const each of page.processes) for (const note of each.notes) texts.push(`Note on pid ${each.pid}: ${note}`);
    for (const each of page.unwatched) texts.push(`Not watched: pid ${each.pid} (${each.command.join(" ") || each.executable}): ${each.reason}`);
    for (const name of page.files_left_out) texts.push(`Left out: ${name}`);
    lw.fill("notes", ...[...new Set(texts)].map((text) => lw.el("p", { class: "small muted" }, `${text}.`)));
    lw.at("notes").hidden = !texts.length;
  };

  const render = (newer) => {
    page = newer;
    const { run } = page;
    document.title = `loopwatch · ${page.title}`;
    lw.at("title").textContent = page.title;
    const parts = [new Date(run.started).toLocaleString(), lw.duration(run.seconds * 1e3) + (page.counts.running ? " so far" : "")];
    if (page.counts.processes > 1) parts.push(lw.counted(page.counts.processes, "process", "processes"));
    if (run.threshold_ms) parts.push(`threshold ${lw.duration(run.threshold_ms)}`);
    lw.at("meta").textContent = parts.join(" · ");
    lw.at("selection").textContent = page.selection;
    summary();
    running();
    timeline.render(page);
    fresh = true;
    sites.render(page);
    longest();
    processes();
    notes();
  };

  lw.at("theme").addEventListener("click", () => {
    const root = document.documentElement;
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    timeline.repaint();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", timeline.repaint);

  const data = JSON.parse(lw.at("data").textContent);
  if (data) render(data);
  const address = document.body.dataset.events;
  if (address) {
    const live = lw.at("live");
    const events = new EventSource(address);
    const say = (text, on) => { live.hidden = false; live.textContent = text; live.classList.toggle("on", on); };
    events.addEventListener("open", () => say("live", true));
    events.addEventListener("page", (event) => { say("live", true); render(JSON.parse(event.data)); });
    events.addEventListener("problem", (event) => say(JSON.parse(event.data), false));
    events.addEventListener("error", () => say(events.readyState === EventSource.CLOSED ? "stopped" : "connecting …", false));
  }
})();
