// The timeline: a bar per stall, as high as it was long on a logarithmic scale; spans where there are too many.
"use strict";
lw.timeline = (choose) => {
  const canvas = lw.at("canvas");
  const status = lw.at("timeline-status");
  const probe = document.createElement("i");
  probe.hidden = true;
  document.body.append(probe);
  let stalls = [], spans = [], whole = [0, 1], view = null, at = -1, drag = null, passes = () => true, bounds = [1, 1000];

  // A colour of the style sheet as canvas knows it: it does not resolve light-dark().
  const colors = new Map();
  const color = (name) => {
    if (!colors.has(name)) {
      probe.style.color = `var(--${name})`;
      colors.set(name, getComputedStyle(probe).color);
    }
    return colors.get(name);
  };
  const x = (time) => ((time - view[0]) / (view[1] - view[0])) * canvas.clientWidth;
  const time = (pixel) => view[0] + (pixel / canvas.clientWidth) * (view[1] - view[0]);
  const height = (ms) => {
    const [low, high] = bounds.map(Math.log);
    return 4 + (canvas.clientHeight - 30) * Math.max(0, Math.min(1, (Math.log(ms) - low) / (high - low)));
  };

  const axis = (context, width, floor) => {
    const length = view[1] - view[0];
    const step = [...Array(40).keys()].map((i) => [1, 2, 5][i % 3] * 10 ** (Math.floor(i / 3) - 4))
      .find((each) => length / each <= Math.max(2, width / 110)) || length;
    context.fillStyle = color("muted");
    context.font = "11px system-ui, sans-serif";
    for (let i = Math.ceil(view[0] / step); i * step <= view[1]; i++) {
      const left = x(i * step);
      context.globalAlpha = 0.25;
      context.fillRect(left, 0, 1, floor);
      context.globalAlpha = 1;
      const text = i === 0 ? "0 s" : lw.duration(i * step * 1e3);
      if (left + context.measureText(text).width < width) context.fillText(text, left + 3, floor + 13);
    }
    context.fillRect(0, floor, width, 1);
    for (const ms of [1, 10, 100, 1000, 10000, 100000].filter((each) => each > bounds[0] && each < bounds[1])) {
      const top = floor - height(ms);
      context.globalAlpha = 0.25;
      context.fillRect(0, top, width, 1);
      context.globalAlpha = 0.9;
      const text = lw.duration(ms);
      context.fillText(text, width - context.measureText(text).width - 3, top - 3);
      context.globalAlpha = 1;
    }
  };

  const draw = () => {
    const scale = window.devicePixelRatio || 1;
    const [width, tall] = [canvas.clientWidth, canvas.clientHeight];
    if (!width || !view) return;
    canvas.width = width * scale;
    canvas.height = tall * scale;
    const context = canvas.getContext("2d");
    context.scale(scale, scale);
    const floor = tall - 18;
    axis(context, width, floor);
    context.fillStyle = color("loop");
    for (const [start, end, , , longest] of spans) {
      if (end < view[0] || start > view[1]) continue;
      context.fillRect(x(start), floor - height(longest), Math.max(1, x(end) - x(start)), height(longest));
    }
    for (const stall of [...stalls].reverse()) {
      if (stall.end < view[0] || stall.begin > view[1]) continue;
      context.globalAlpha = passes(stall.site) ? 1 : 0.13;
      context.fillStyle = color(lw.paint(stall));
      const tallness = height(stall.duration_ms);
      context.fillRect(x(stall.begin), floor - tallness, Math.max(2, x(stall.end) - x(stall.begin)), tallness);
    }
    context.globalAlpha = 1;
    if (stalls[at]) {
      context.strokeStyle = color("text");
      context.lineWidth = 1.5;
      const tallness = height(stalls[at].duration_ms);
      const wide = Math.max(2, x(stalls[at].end) - x(stalls[at].begin));
      context.strokeRect(x(stalls[at].begin) - 2, floor - tallness - 2, wide + 4, tallness + 3);
    }
    if (drag && drag.moved) {
      context.globalAlpha = 0.2;
      context.fillStyle = color("link");
      context.fillRect(Math.min(drag.from, drag.to), 0, Math.abs(drag.to - drag.from), floor);
      context.globalAlpha = 1;
    }
  };

  const tell = (stall) => {
    const parts = [`${lw.duration(stall.duration_ms)} at ${lw.duration(stall.begin * 1e3)}`, stall.name];
    if (stall.endpoint) parts.push(stall.endpoint);
    if (stall.cause) parts.push(stall.cause);
    if (stall.requests_delayed) parts.push(`${lw.counted(stall.requests_delayed, "request")} delayed`);
    if (stall.phase === "startup" || stall.phase === "shutdown") parts.push(stall.phase);
    if (stall.allowed) parts.push("allowed");
    if (stall.state === "running") parts.push("still running");
    if (stall.state === "gone") parts.push("never ended");
    parts.push(`pid ${stall.pid}`);
    return parts.join(" · ");
  };

  // The stall under a pixel: of several the longest that reaches up there, else the nearest.
  const under = (pixel, y) => {
    let best = -1, least = 7;
    stalls.forEach((stall, i) => {
      const [left, right] = [x(stall.begin), Math.max(x(stall.begin) + 2, x(stall.end))];
      const beside = pixel < left ? left - pixel : pixel > right ? pixel - right : 0;
      const above = Math.max(0, canvas.clientHeight - 18 - height(stall.duration_ms) - y);
      const distance = beside + above / 20;
      if (passes(stall.site) && distance < least) [best, least] = [i, distance];
    });
    return best;
  };

  const show = (i) => {
    at = i;
    const stall = stalls[i];
    status.textContent = stall ? tell(stall) : "";
    draw();
  };

  const zoom = (from, to) => {
    const least = 0.005;
    if (to - from < least) [from, to] = [(from + to - least) / 2, (from + to + least) / 2];
    view = [Math.max(whole[0], from), Math.min(whole[1], to)];
    if (view[1] <= view[0]) view = [...whole];
    draw();
  };
  const scale = (factor, around) => {
    const middle = around === undefined ? (stalls[at] ? stalls[at].begin : (view[0] + view[1]) / 2) : around;
    zoom(middle - (middle - view[0]) * factor, middle + (view[1] - middle) * factor);
  };
  const step = (by) => {
    const order = stalls.map((_, i) => i).filter((i) => passes(stalls[i].site)).sort((a, b) => stalls[a].begin - stalls[b].begin);
    if (!order.length) return;
    const known = order.indexOf(at);
    const place = known >= 0 ? known : by > 0 ? -1 : order.length;
    const next = order[Math.max(0, Math.min(order.length - 1, place + by))];
    const stall = stalls[next];
    if (stall.begin < view[0] || stall.begin > view[1]) {
      const half = (view[1] - view[0]) / 2;
      zoom(stall.begin - half, stall.begin + half);
    }
    show(next);
  };

  const pixel = (event) => event.clientX - canvas.getBoundingClientRect().left;
  canvas.addEventListener("pointerdown", (event) => {
    drag = { from: pixel(event), to: pixel(event), moved: false };
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (drag) {
      drag.to = pixel(event);
      drag.moved = drag.moved || Math.abs(drag.to - drag.from) > 5;
      draw();
      return;
    }
    const found = under(pixel(event), event.clientY - canvas.getBoundingClientRect().top);
    if (found >= 0 && found !== at) return show(found);
    const moment = time(pixel(event));
    const span = found < 0 && spans.find(([start, end]) => start <= moment && moment < end);
    if (span) status.textContent = `${lw.counted(span[2], "stall")} in ${lw.duration((span[1] - span[0]) * 1e3)}: ${lw.duration(span[3])} together, the longest ${lw.duration(span[4])}`;
  });
  canvas.addEventListener("pointerup", (event) => {
    const was = drag;
    drag = null;
    if (was && was.moved) {
      const [left, right] = [time(Math.min(was.from, was.to)), time(Math.max(was.from, was.to))];
      return zoom(left, right);
    }
    const found = under(pixel(event), event.clientY - canvas.getBoundingClientRect().top);
    if (found >= 0) {
      show(found);
      choose(stalls[found].site);
    }
  });
  canvas.addEventListener("pointercancel", () => { drag = null; draw(); });
  canvas.addEventListener("dblclick", () => zoom(...whole));
  canvas.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.shiftKey) return;
    event.preventDefault();
    scale(event.deltaY + event.deltaX > 0 ? 1.3 : 1 / 1.3, time(pixel(event)));
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const act = {
      ArrowRight: () => step(1), ArrowLeft: () => step(-1), Home: () => step(-1e9), End: () => step(1e9),
      "+": () => scale(0.5), "=": () => scale(0.5), "-": () => scale(2), 0: () => zoom(...whole),
      Enter: () => stalls[at] && choose(stalls[at].site),
    }[event.key];
    if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    act();
  });
  lw.at("zoom-in").addEventListener("click", () => scale(0.5));
  lw.at("zoom-out").addEventListener("click", () => scale(2));
  lw.at("zoom-all").addEventListener("click", () => zoom(...whole));
  new ResizeObserver(draw).observe(canvas);

  return {
    repaint: () => { colors.clear(); draw(); },
    filter: (test) => { passes = test; draw(); },
    render: (page) => {
      const zoomed = view && (view[0] !== whole[0] || view[1] !== whole[1]);
      const known = stalls[at];
      const start = Date.parse(page.run.started) / 1e3;
      stalls = page.stalls.rows.map((row) => {
        const stall = Object.fromEntries(page.stalls.columns.map((name, i) => [name, row[i]]));
        stall.begin = stall.start - start;
        stall.end = stall.begin + stall.duration_ms / 1e3;
        stall.name = page.sites[stall.site] ? page.sites[stall.site].name : "a line that is not shown";
        return stall;
      });
      const width = page.timeline.width;
      spans = page.stalls_omitted ? page.timeline.spans.map(([from, ...rest]) => [from - start, from - start + width, ...rest]) : [];
      const last = Math.max(page.run.seconds, 0.001, ...stalls.map((stall) => stall.end));
      const first = Math.min(0, ...stalls.map((stall) => stall.begin));
      whole = [first, last + (last - first) * 0.01];
      view = zoomed ? view : [...whole];
      const least = page.run.threshold_ms || 1;
      bounds = [least * 0.8, Math.max(least * 10, ...stalls.map((stall) => stall.duration_ms)) * 1.1];
      at = known ? stalls.findIndex((stall) => stall.start === known.start && stall.pid === known.pid) : -1;
      const names = [...new Set(stalls.map(lw.paint))].sort();
      lw.fill("legend", ...names.map((name) => lw.el("span", {}, lw.el("i", { class: `paint-${name}` }), name === "other" ? "stall" : name)));
      canvas.setAttribute("aria-label", `Timeline of ${lw.counted(stalls.length, "stall")}`);
      draw();
    },
  };
};
