// How things look: elements, times, states. All text goes in as text.

// el makes an element: el("td.num", {title: …}, children…).
export function el(tag, ...rest) {
  const [name, ...classes] = tag.split(".");
  const e = document.createElement(name);
  e.className = classes.join(" ");
  const [first] = rest;
  const attributes = first && first.constructor === Object ? rest.shift() : {};
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") e.addEventListener(key, value);
    else if (value !== undefined && value !== false) e.setAttribute(key, value === true ? "" : value);
  }
  e.append(...rest.flat(Infinity).filter((c) => c !== undefined && c !== null && c !== false && c !== ""));
  return e;
}

const tones = {
  succeeded: "good", running: "busy", planning: "busy", launching: "busy", queued: "warn", pending: "warn", paused: "warn",
  healthy: "good", unhealthy: "bad", held: "bad", unknown: "warn", failed: "bad", upstream_failed: "bad", not_started: "bad", killed: "warn", cancelled: "warn",
};
export const tone = (state) => tones[state] ?? "";
export const badge = (state) => el("span.badge" + (tone(state) ? "." + tone(state) : ""), state.replaceAll("_", " "));
// mark says a state in one character, for those who do not see colours apart.
export const mark = (state) => ({ succeeded: "✓", running: "▸", failed: "✕", upstream_failed: "✕", skipped: "–", cancelled: "–" })[state] ?? "…";
export const final = (state) => ["succeeded", "failed", "skipped", "upstream_failed", "cancelled"].includes(state);

export function span(ms) {
  const s = Math.max(0, ms) / 1000;
  if (s < 1) return Math.round(s * 1000) + " ms";
  if (s < 10) return s.toFixed(1) + " s";
  if (s < 120) return Math.round(s) + " s";
  if (s < 7200) return Math.round(s / 60) + " min";
  if (s < 172800) return Math.round(s / 3600) + " h";
  return Math.round(s / 86400) + " d";
}
const exact = (iso) => new Date(iso).toLocaleString();
export const ago = (iso) => iso ? el("time", { datetime: iso, title: exact(iso) }, span(Date.now() - new Date(iso)) + " ago") : "–";
export function until(iso) {
  if (!iso) return "–";
  const left = new Date(iso) - Date.now();
  return el("time", { datetime: iso, title: exact(iso) }, left > 0 ? "in " + span(left) : "now");
}
export const took = (start, end) => start ? span((end ? new Date(end) : Date.now()) - new Date(start)) : "–";

export function when(job) {
  if (job.after?.length) return el("span", "after ", job.after.map((p, i) => [i ? ", " : "", jobLink(p)]));
  const s = job.schedule;
  if (!s) return "–";
  return [el("code", [s.cron ?? s.repeat].flat().join("; ")), s.zone ? el("small", s.zone) : ""];
}

export const jobLink = (name) => el("a.name", { href: "#/job/" + encodeURIComponent(name) }, name);
export const runLink = (id, label = id) => el("a.mono.id", { href: "#/run/" + encodeURIComponent(id) }, label);

// progress is a bar of a run's splits, or of a service's instances, and what
// it says in words.
export function progress(run) {
  const s = run.splits;
  if (!s.total) return el("span.soft", "–");
  const part = (kind, n) => {
    const i = el("i." + kind);
    i.style.width = (100 * n) / s.total + "%";
    return i;
  };
  const doing = run.state === "queued" ? "launching" : "running";
  const words = [run.trigger === "service" && !final(run.state) ? `${s.live} of ${s.total} instances ${doing}` : `${s.done} of ${s.total} splits done`,
    run.trigger !== "service" && s.live && `${s.live} ${doing}`, s.waiting && `${s.waiting} waiting`, s.failed && `${s.failed} failed`];
  return [el("div.bar", part("good", s.done), part("busy", s.live), part("bad", s.failed)), el("small", words.filter(Boolean).join(", "))];
}

export const localShare = (s) => s.placed ? Math.round((100 * s.local) / s.placed) + " %" : "–";

// why lists the reasons of waiting splits, each once, with how many it holds.
export function why(waiting) {
  const counts = new Map();
  for (const split of waiting ?? []) {
    for (const reason of split.reasons ?? []) counts.set(reason.message, (counts.get(reason.message) ?? 0) + 1);
  }
  const lines = [...counts].sort((a, b) => b[1] - a[1]).slice(0, 5);
  return lines.length ? el("ul.why", lines.map(([text, n]) => el("li", n > 1 ? `${n} splits: ${text}` : text))) : "";
}

export function table(head, rows, empty) {
  if (!rows.length) return el("p.empty", empty);
  for (const row of rows) [...row.cells].forEach((cell, i) => { cell.dataset.column = head[i].replace("#", ""); });
  return el("div.scroll", el("table",
    el("thead", el("tr", head.map((h) => el(h.startsWith("#") ? "th.num" : "th", { scope: "col" }, h.replace("#", ""))))),
    el("tbody", rows)));
}

export const card = (head, ...body) => el("section", el("div.head", head), body);
export const facts = (pairs) => el("dl.facts", Object.entries(pairs)
  .filter(([, v]) => v !== undefined && v !== "" && v !== null)
  .map(([k, v]) => el("div", el("dt", k), el("dd", v))));

export function toast(message) {
  document.getElementById("toast")?.remove();
  const t = el("div", { id: "toast", role: "status" }, message);
  document.body.append(t);
  setTimeout(() => t.remove(), 6000);
}
