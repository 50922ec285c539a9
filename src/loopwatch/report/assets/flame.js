// The icicle of stalled milliseconds: d3-flame-graph draws it, keyboard and screen reader are ours.
"use strict";

// The frames of a stack, outermost first.
lw.frames = (page, stack) => {
  const found = [];
  for (let at = stack; at >= 0; at = page.stacks[at][0]) found.push(page.frames[page.stacks[at][1]]);
  return found.reverse();
};

// Which of them are shown unless all are, as analysis/flame.py has it: from the user's own code on, and of library frames
// in a row the first and the last.
lw.shown = (frames, start) => {
  const app = (i) => i >= start && i < frames.length && frames[i][3] === "app";
  return frames.map((_, i) => i >= start && (i === start || i === frames.length - 1 || app(i - 1) || app(i) || app(i + 1)));
};

lw.flame = () => {
  const graph = lw.at("graph");
  const status = lw.at("flame-status");
  const all = lw.at("flame-all");
  const search = lw.at("flame-search");
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  let page = null, passes = null, chart = null, whole = 0, zoomed = [], focus = "";

  const folded = (frames, start) => {
    const shown = lw.shown(frames, start);
    return frames.filter((_, i) => shown[i]);
  };

  const tree = () => {
    const root = { name: "all", value: 0, kind: "loop", children: [], known: new Map(), label: "all stalls" };
    for (const [stack, site, ms, start] of page.weights) {
      if (passes && !(page.sites[site] && passes(page.sites[site]))) continue;
      const frames = lw.frames(page, stack);
      let node = root;
      node.value += ms;
      for (const frame of all.checked ? frames : folded(frames, start)) {
        const [name, file, line, kind, call] = frame;
        const key = JSON.stringify([name, file, line]);
        let next = node.known.get(key);
        if (!next) {
          const label = file ? `${name} ${file}:${line || "?"}` : name;
          const brief = kind === "app" && file ? `${name} ${file.split("/").pop()}:${line || "?"}` : name;
          next = { name: brief, label, call, kind, value: 0, children: [], known: new Map(), key };
          node.known.set(key, next);
          node.children.push(next);
        }
        next.value += ms;
        node = next;
      }
    }
    root.name = `all · ${lw.duration(root.value)}`;
    return root;
  };

  const sentence = (node) => {
    const share = lw.share(node.data.value, whole);
    return [node.data.label, `${lw.duration(node.data.value)} (${share})`, node.data.call].filter(Boolean).join(" · ");
  };
  const path = (node) => node.ancestors().reverse().slice(1).map((each) => each.data.key);
  const groups = () => [...graph.querySelectorAll("g.frame")];

  // What is on the screen is a tree with one place in the tab order.
  const decorate = () => {
    const svg = graph.querySelector("svg");
    svg.setAttribute("role", "tree");
    svg.setAttribute("aria-label", "Stalled time by stack, callers first");
    const every = groups();
    const current = every.find((g) => JSON.stringify(path(g.__data__)) === focus) || every[0];
    for (const g of every) {
      const node = g.__data__;
      g.setAttribute("role", "treeitem");
      g.setAttribute("aria-level", node.depth + 1);
      g.setAttribute("aria-label", sentence(node));
      g.setAttribute("tabindex", g === current ? "0" : "-1");
    }
  };
  const go = (node) => {
    const g = node && groups().find((each) => each.__data__ === node);
    if (!g) return;
    focus = JSON.stringify(path(node));
    decorate();
    g.focus();
    status.textContent = sentence(node);
  };
  const zoom = (node) => {
    zoomed = path(node);
    status.textContent = sentence(node);
    focus = JSON.stringify(zoomed);
    requestAnimationFrame(decorate);
  };

  const seek = () => {
    const term = search.value.trim();
    if (!chart) return;
    if (term) chart.search(term);
    else { chart.clear(); status.textContent = ""; }
    decorate();
  };

  const find = (root, keys) => {
    let node = root;
    for (const key of keys) {
      const next = (node.children || []).find((child) => child.data.key === key);
      if (!next) break;
      node = next;
    }
    return node;
  };

  const draw = () => {
    const had = graph.contains(document.activeElement);
    graph.replaceChildren();
    chart = null;
    const data = tree();
    whole = data.value;
    lw.at("flame").hidden = !page.weights.length;
    status.textContent = data.children.length || !page.weights.length ? "" : "No stall is taken by the filters.";
    if (!data.children.length || !graph.clientWidth) return; // without a width it is drawn when it gets one
    chart = d3.flamegraph().width(graph.clientWidth).cellHeight(21).inverted(true).minFrameSize(1.5)
      .transitionDuration(0).resetHeightOnZoom(true).sort((a, b) => b.data.value - a.data.value)
      .label(sentence).color((node) => `var(--${node.highlight ? "hit" : node.data.kind})`)
      .onClick(zoom).setDetailsHandler(() => {})
      .onHover((node) => { status.textContent = sentence(node); })
      .setSearchMatch((node, term) => node.depth > 0 && `${node.data.label} ${node.data.call || ""}`.toLowerCase().includes(term.toLowerCase()))
      .setSearchHandler((found, sum, total) => {
        status.textContent = `${lw.counted(found.length, "frame")} found, ${lw.duration(sum)} (${lw.share(sum, total)})`;
      });
    d3.select(graph).datum(data).call(chart);
    const root = graph.querySelector("g.frame").__data__;
    if (zoomed.length) {
      const node = find(root, zoomed);
      if (node.depth) chart.zoomTo(node);
    }
    if (search.value.trim()) seek();
    chart.transitionDuration(still ? 0 : 250);  // what is drawn anew does not move, what is zoomed does
    decorate();
    if (had) (graph.querySelector('g[tabindex="0"]') || graph).focus();
  };

  graph.addEventListener("focusin", (event) => {
    const g = event.target.closest("g.frame");
    if (!g) return;
    focus = JSON.stringify(path(g.__data__));
    status.textContent = sentence(g.__data__);
  });
  graph.addEventListener("keydown", (event) => {
    const g = event.target.closest("g.frame");
    if (!g || event.ctrlKey || event.metaKey || event.altKey) return;
    const node = g.__data__;
    const siblings = node.parent ? node.parent.children : [node];
    const visible = new Set(groups().map((each) => each.__data__));
    const beside = (by) => {
      let at = siblings.indexOf(node) + by;
      while (siblings[at] && !visible.has(siblings[at])) at += by;
      return siblings[at];
    };
    const act = {
      ArrowDown: () => go((node.children || []).find((child) => visible.has(child) && child.value > 0)),
      ArrowUp: () => go(node.parent),
      ArrowRight: () => go(beside(1)),
      ArrowLeft: () => go(beside(-1)),
      Enter: () => { chart.zoomTo(node); go(node); },
      " ": () => { chart.zoomTo(node); go(node); },
      Escape: reset,
    }[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
  const reset = () => {
    if (!chart) return;
    chart.resetZoom();
    zoomed = [];
    focus = "[]";
    decorate();
  };
  lw.at("flame-reset").addEventListener("click", reset);
  lw.at("flame-tools").addEventListener("submit", (event) => event.preventDefault());
  search.addEventListener("input", seek);
  all.addEventListener("change", () => { zoomed = []; draw(); });
  let width = 0;
  new ResizeObserver(() => {
    if (page && graph.clientWidth !== width) { width = graph.clientWidth; draw(); }
  }).observe(graph);

  return {
    filter: (test) => { if (passes || test) { passes = test; draw(); } },
    render: (newer) => {
      if (!page) all.checked = newer.all_frames;
      page = newer;
      passes = null;
      width = graph.clientWidth;
    },
    draw,
  };
};
