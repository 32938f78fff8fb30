// The page: an overview, a job, a run. Each view asks the API for what it
// shows, and asks again when the event stream says that something changed.
import { at, get, post, text, watch } from "./api.js";
import { ago, badge, card, el, facts, final, jobLink, localShare, mark, progress, runLink, table, toast, tone, took, until, when, why } from "./view.js";

const pageSize = 25;
const main = document.getElementById("main");
const list = { search: "", offset: 0 }; // of the jobs, kept between views
let typing = false; // in the search box, which is kept too

async function act(what, done) {
  try {
    const result = await what();
    toast(typeof done === "function" ? done(result) : done);
    refresh();
  } catch (e) {
    toast(e.message);
  }
}

// --- overview

const searchBox = el("input", { type: "search", placeholder: "Search jobs", "aria-label": "Search jobs", input: later(() => {
  Object.assign(list, { search: searchBox.value, offset: 0 });
  refresh();
}, 250) });

async function overview() {
  const [jobs, live, recent, pools] = await Promise.all([
    get("/v1/jobs", { search: list.search, limit: pageSize, offset: list.offset }),
    get("/v1/runs", { live: true, limit: 30 }),
    get("/v1/runs", { limit: 300 }),
    get("/v1/pools"),
  ]);
  const byJob = Map.groupBy(recent.runs, (r) => r.job);
  typing = document.activeElement === searchBox; // before it moves into the new view, and loses the focus
  return [
    card([el("h2", "Live runs"), el("span.soft", live.total > live.runs.length ? `${live.total}, the newest ${live.runs.length} of them here` : live.total || "")],
      table(["Run", "State", "Splits", "#Beside data", "Since"], live.runs.map(liveRow),
        "Nothing is running. A job runs when it is due, when its parents have succeeded, or by hand.")),
    card([el("h2", "Jobs"), el("span.soft", jobs.total || ""), el("span.grow"), searchBox],
      table(["Name", "State", "When", "Next", "Recent runs", "Last run"], jobs.jobs.map((j) => jobRow(j, byJob.get(j.name) ?? [j.last_run].filter(Boolean))),
        list.search ? "No job matches." : "There is no job yet. “tidemill job apply -f FILE” adds some."),
      pager(jobs.total)),
    pools.pools.length ? card([el("h2", "Pools"), el("span.soft", pools.pools.length)],
      table(["Name", "Slots held", "Held by", "Tasks waiting"], pools.pools.map(poolRow))) : "",
  ];
}

function liveRow(r) {
  return el("tr",
    el("td", jobLink(r.job), el("small", runLink(r.id, r.id.slice(r.job.length + 1)), " · ", r.trigger)),
    el("td", badge(r.state), r.reason ? el("small", r.reason) : ""),
    el("td", progress(r), why(r.waiting)),
    el("td.num", localShare(r.splits)),
    el("td.tight", ago(r.started ?? r.created)));
}

function jobRow(j, runs) {
  const last = j.last_run;
  return el("tr",
    el("td", jobLink(j.name), el("small", [j.kind, j.description].filter(Boolean).join(" · "))),
    el("td", badge(j.state), j.held ? el("small", j.held) : ""),
    el("td", when(j)),
    el("td.tight", until(j.next)),
    el("td", !runs.length ? "–" : el("span.dots", runs.slice(0, 8).reverse().map((r) =>
      el("a" + (tone(r.state) ? "." + tone(r.state) : ""), { href: "#/run/" + encodeURIComponent(r.id), title: r.state + (r.reason ? ": " + r.reason : ""), "aria-label": r.state }, mark(r.state))))),
    el("td.tight", last ? [ago(last.ended ?? last.started ?? last.created), el("small", last.state.replaceAll("_", " "))] : "–"));
}

function poolRow(p) {
  return el("tr",
    el("td", el("span.name", p.name), el("small", p.description ?? "")),
    el("td.tight", `${p.used} of ${p.slots}`),
    el("td", p.holders?.map((h, i) => [i ? ", " : "", jobLink(h.job), ` ${h.slots}`]) ?? "–"),
    el("td.tight", String(p.waiting)));
}

function pager(total) {
  if (total <= pageSize) return "";
  const go = (offset) => () => { list.offset = offset; refresh(); };
  return el("div.head", el("span.soft", `${list.offset + 1} to ${Math.min(list.offset + pageSize, total)} of ${total}`), el("span.grow"),
    el("button", { click: go(Math.max(0, list.offset - pageSize)), disabled: list.offset === 0 }, "Back"),
    el("button", { click: go(list.offset + pageSize), disabled: list.offset + pageSize >= total }, "Next"));
}

// --- one job

async function job(name) {
  const [j, runs] = await Promise.all([get(at("jobs", name)), get("/v1/runs", { job: name, limit: 30 })]);
  return [
    el("div.title", el("h1", j.name), badge(j.state), el("span.grow"),
      j.instances ? "" : el("button.primary", { click: () => act(() => post(at("jobs", name, "runs"), { request_id: crypto.randomUUID() }), (r) => `${r.id} is ${r.state}`) }, "Run now"),
      el("button", { click: () => act(() => post(at("jobs", name, j.paused ? "resume" : "pause")), j.paused ? "resumed" : "paused") }, j.paused ? "Resume" : "Pause")),
    card([el("h2", j.description || "About")],
      facts({
        Kind: j.kind, Owner: j.owner, When: j.instances ? undefined : when(j), Next: j.next && until(j.next), Before: j.children?.map((c, i) => [i ? ", " : "", jobLink(c)]),
        Instances: j.instances && `${j.instances.running} of ${j.instances.wanted} running, ${j.instances.healthy} healthy` + (j.instances.outdated ? `, ${j.instances.outdated} of an older version` : ""),
        Overlap: j.instances ? undefined : j.overlap?.replaceAll("_", " "), Retry: j.retry && (j.instances ? "" : `${j.retry.attempts} starts, `) + `${j.retry.backoff} to ${j.retry.max} apart`,
        Resources: j.resources && Object.entries(j.resources).map(([k, v]) => `${k} ${v}`).join(", "),
        Near: j.placement?.near, Version: j.version, Succeeded: j.successes + j.failures ? `${j.successes} of ${j.successes + j.failures}` : undefined,
        "Last success": j.last_success && ago(j.last_success), "Last failure": j.last_failure && ago(j.last_failure),
        Held: j.held,
      }),
      j.spec ? el("pre", JSON.stringify(j.spec, null, 2)) : ""),
    j.endpoints?.length ? card([el("h2", "Instances"), el("span.soft", j.endpoints.length)],
      table(["Instance", "Listens", "Health"], j.endpoints.map((e) => instanceRow(j.name, e)))) : "",
    card([el("h2", "Runs"), el("span.soft", runs.total || "")],
      table(["Run", "State", "Splits", "#Beside data", "For", "Took"], runs.runs.map(runRow), "It has not run yet.")),
  ];
}

function instanceRow(name, e) {
  const ports = e.names ? Object.entries(e.names).map(([port, number]) => `${port} ${number}`) : e.ports ?? [];
  return el("tr",
    el("td.mono", e.task.slice(name.length + 1)),
    el("td.mono", e.url || [e.host, ports.join(", ")].filter(Boolean).join(": ")),
    el("td", e.health ? badge(e.health) : "not checked"));
}

function runRow(r) {
  return el("tr",
    el("td", runLink(r.id, r.id.slice(r.job.length + 1)), el("small", r.trigger)),
    el("td", badge(r.state), r.reason ? el("small", r.reason) : ""),
    el("td", progress(r)),
    el("td.num", localShare(r.splits)),
    el("td.tight", ago(r.nominal)),
    el("td.tight", took(r.started, r.ended)));
}

// --- one run

async function run(id) {
  const r = await get(at("runs", id));
  const tasks = r.tasks ?? r.attempts?.map((t) => ({ placement: "", ...t })) ?? [];
  return [
    el("div.title", el("h1", jobLink(r.job), " ", el("span.soft.mono", r.id.slice(r.job.length + 1))), badge(r.state), el("span.grow"),
      final(r.state) ? "" : el("button.danger", { click: () => confirm(`Kill ${id}?`) && act(() => post(at("runs", id, "kill")), "is being killed") }, "Kill")),
    card([el("h2", r.reason || "About")],
      facts({
        Trigger: r.trigger, For: ago(r.nominal), Started: ago(r.started), Took: took(r.started, r.ended), Stage: r.stage || "planning",
        Splits: progress(r), "Beside the data": localShare(r.splits), Unknown: r.unknown && `${r.unknown} attempts`, Arguments: r.arguments?.join(" "),
        Interval: r.interval?.start && `${r.interval.start} to ${r.interval.end ?? "now"}`,
        Results: r.results && el("span.mono", Object.entries(r.results).map(([k, v]) => `${k}=${v}`).join(" ")),
      })),
    r.waiting?.length ? card([el("h2", "Waiting"), el("span.soft", r.waiting.length)],
      table(["Split", "Since", "Prefers", "Because"], r.waiting.slice(0, 200).map(waitingRow))) : "",
    r.children?.length ? card([el("h2", "Jobs after it")],
      table(["Job", "Run", "State"], r.children.map((c) => el("tr", el("td", jobLink(c.job)), el("td", c.run ? runLink(c.run, c.run.slice(c.job.length + 1)) : "–"),
        el("td", c.state ? badge(c.state) : "", c.reason ? el("small", c.reason) : ""))))) : "",
    card([el("h2", "Tasks"), el("span.soft", tasks.length || "")],
      table(["Task", "State", "Where", "Placement", "Said", "Took", "Logs"], tasks.map(taskRow), "No task has been launched.")),
    logs.panel,
  ];
}

function waitingRow(s) {
  return el("tr", el("td.mono", `${s.stage}.${s.split}`), el("td.tight", ago(s.since)), el("td", s.preferred?.join(", ") ?? "–"),
    el("td", s.reasons.map((r) => el("div", r.message, r.until ? [" (", until(r.until), ")"] : "", r.count > 1 ? el("span.soft", ` × ${r.count} offers`) : ""))));
}

function taskRow(t) {
  const p = t.progress;
  const said = p && !final(t.state) ? [p.done + (p.total ? ` of ${p.total}` : ""), p.unit, p.note].filter(Boolean).join(" ") : t.message;
  return el("tr",
    el("td.mono", `${t.stage}.${t.split}`, el("small", "attempt " + t.attempt)),
    el("td", badge(t.state), t.exit_code ? el("small", "exit code " + t.exit_code) : ""),
    el("td", t.host, el("small", t.locality ?? "")),
    el("td", el("small", t.placement)),
    el("td", el("small", said || "–")),
    el("td.tight", took(t.started, t.ended)),
    el("td.tight", ["stdout", "stderr"].map((s) => [" ", el("a", { href: "#", click: (e) => { e.preventDefault(); logs.open(t.id, s); } }, s)])));
}

// logs is one panel that stays while the view around it is drawn again.
const logs = {
  panel: "",
  open(task, stream) {
    this.close();
    const pre = el("pre.log");
    this.ended = new AbortController();
    this.panel = card([el("h2", stream), el("span.soft.mono", task), el("span.grow"), el("button", { click: () => { this.close(); refresh(); } }, "Close")], pre);
    refresh();
    const query = new URLSearchParams({ stream, follow: true });
    text(at("tasks", task, "logs") + "?" + query, this.ended.signal, (part) => {
      const atEnd = pre.scrollTop + pre.clientHeight >= pre.scrollHeight - 8;
      pre.append(part);
      if (pre.textContent.length > 2e6) pre.textContent = pre.textContent.slice(-1e6);
      if (atEnd) pre.scrollTop = pre.scrollHeight;
    }).then(() => { if (!pre.textContent) pre.append("(nothing was written)"); }, (e) => { if (e.name !== "AbortError") pre.append(e.message); });
  },
  close() {
    this.ended?.abort();
    this.panel = "";
  },
};

// --- the frame

async function header() {
  const s = await get("/v1/status");
  const short = (url) => (url ?? "").replace(/^https?:\/\//, "");
  const numbers = {
    Leader: short(s.leader) || (s.leading ? "this one" : "none"), Master: s.subscribed ? s.master : "not subscribed", Jobs: s.jobs,
    "Live runs": s.live_runs, Tasks: s.live_tasks, Waiting: s.waiting_tasks, ...(s.unknown_tasks ? { Unknown: s.unknown_tasks } : {}),
  };
  document.getElementById("status").replaceChildren(...Object.entries(numbers).map(([k, v]) => el("div", el("dt", k), el("dd", String(v)))));
  const held = s.hold ? [`Nothing is launched since ${new Date(s.hold.since).toLocaleString()}: ${s.hold.reason}`] : [];
  document.getElementById("problems").replaceChildren(...[...held, ...(s.problems ?? [])].map((p) => el("p", p)));
}

function route() {
  const [, kind, id] = location.hash.split("/");
  if (kind === "job" && id) return () => job(decodeURIComponent(id));
  if (kind === "run" && id) return () => run(decodeURIComponent(id));
  return overview;
}

let drawing; // one drawing at a time; asked for meanwhile: once more after it
let again = false;
async function refresh() {
  if (drawing) {
    again = true;
    return;
  }
  drawing = draw();
  await drawing;
  drawing = undefined;
  if (again) {
    again = false;
    refresh();
  }
}

async function draw() {
  const hash = location.hash;
  header().catch((e) => document.getElementById("problems").replaceChildren(el("p", e.message)));
  try {
    typing = false;
    const view = (await route()()).filter(Boolean);
    if (hash !== location.hash) return; // the user went on
    const place = placeOf(document.activeElement);
    main.replaceChildren(...view);
    if (typing) searchBox.focus();
    else if (place) [...main.querySelectorAll("a, button")].find((e) => placeOf(e) === place)?.focus({ preventScroll: true });
  } catch (e) {
    if (hash === location.hash) main.replaceChildren(el("p.empty", e.message));
  }
}

// placeOf names a link or button, so that it keeps the focus when it is drawn again.
const placeOf = (e) => main.contains(e) && e.matches("a, button") ? [e.closest("tr")?.rowIndex, e.getAttribute("href"), e.textContent].join(" ") : "";

function later(f, ms) {
  let timer;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(f, ms);
  };
}

// atMost calls f soon, but not more often than every ms.
function atMost(f, ms) {
  let last = 0, timer;
  return () => {
    timer ??= setTimeout(() => {
      timer = undefined;
      last = Date.now();
      f();
    }, Math.max(100, last + ms - Date.now()));
  };
}

addEventListener("hashchange", () => {
  logs.close();
  main.replaceChildren(el("p.empty", "Loading …"));
  refresh();
});
refresh();
const changed = atMost(refresh, 1500);
watch(changed, (on) => {
  const live = document.getElementById("live");
  if (on && live.className === "off") changed(); // something may have been missed
  live.className = on ? "on" : "off";
  live.textContent = on ? "live" : "not connected";
});
setInterval(() => { if (!document.hidden) changed(); }, 10000);
