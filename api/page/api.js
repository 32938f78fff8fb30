// The way to the API: requests with the token, where one is asked for, and
// the stream of what changes.

const tokenKey = "tidemill-token";
let asking; // the dialog that is open, so that many requests ask once

function askForToken() {
  asking ??= new Promise((resolve) => {
    const dialog = document.getElementById("token");
    const input = dialog.querySelector("input");
    input.value = "";
    dialog.addEventListener("close", () => {
      sessionStorage.setItem(tokenKey, input.value.trim());
      asking = undefined;
      resolve();
    }, { once: true });
    dialog.showModal();
  });
  return asking;
}

async function send(path, options = {}) {
  for (;;) {
    const headers = { ...options.headers };
    const token = sessionStorage.getItem(tokenKey);
    if (token) headers.Authorization = "Bearer " + token;
    const res = await fetch(path, { ...options, headers });
    if (res.ok) return res;
    if (res.status === 401) {
      await askForToken();
      continue;
    }
    const problem = await res.json().catch(() => ({}));
    const fields = (problem.errors ?? []).map((e) => [e.field, e.message].filter(Boolean).join(": "));
    throw new Error([problem.detail || problem.title || res.statusText, ...fields, problem.hint].filter(Boolean).join(" · "));
  }
}

export async function get(path, query = {}) {
  const params = new URLSearchParams(Object.entries(query).filter(([, v]) => v !== "" && v !== undefined && v !== 0));
  return (await send(path + (params.size ? "?" + params : ""))).json();
}

export async function post(path, body) {
  const res = await send(path, {
    method: "POST",
    headers: body ? { "Content-Type": "application/json" } : {},
    body: body ? JSON.stringify(body) : undefined,
  });
  const text = await res.text();
  return text ? JSON.parse(text) : undefined;
}

// text streams a body of text, part by part.
export async function text(path, signal, onPart) {
  const res = await send(path, { signal });
  const reader = res.body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    onPart(value);
  }
}

// watch calls onNotice for every change, and onState when the stream comes
// and goes. It comes back by itself. EventSource cannot send a token, so the
// events are read by hand.
export async function watch(onNotice, onState) {
  for (let wait = 500; ; wait = Math.min(wait * 2, 10000)) {
    try {
      let rest = "";
      await text("/v1/events", undefined, (part) => {
        wait = 500;
        onState(true);
        const lines = (rest + part).split("\n");
        rest = lines.pop();
        for (const line of lines) {
          if (line.startsWith("data: ")) onNotice(JSON.parse(line.slice(6)));
        }
      });
    } catch { /* shown by onState */ }
    onState(false);
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
}

export const at = (...parts) => "/v1/" + parts.map(encodeURIComponent).join("/");
