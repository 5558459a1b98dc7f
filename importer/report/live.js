"use strict";
// Fetches the page again and swaps the parts that changed. What somebody has opened, focused or selected stays so.
(() => {
  const now = document.getElementById("live-now"), said = document.getElementById("live-said");
  const SAY_EVERY_MS = 30000;
  let last = new Map(), word = "", saidAt = Date.now(), timer = 0, misses = 0;

  const parts = root => [root.getElementById("head"), ...root.getElementById("main").children, root.getElementById("foot")];
  const focusable = "a[href], summary, [tabindex]";

  function keep(old, fresh) {
    for (const each of old.querySelectorAll("details[open]")) {
      const same = fresh.querySelector("#" + CSS.escape(each.id));
      if (same) same.open = true;
    }
    const active = document.activeElement;
    const place = old.contains(active) ? [...old.querySelectorAll(focusable)].indexOf(active) : -1;
    const slid = [...old.querySelectorAll(".scroll")].map(each => each.scrollLeft);
    old.replaceWith(fresh);
    fresh.querySelectorAll(".scroll").forEach((each, at) => { each.scrollLeft = slid[at] || 0; });
    if (place < 0) return;
    const again = (active.id && document.getElementById(active.id)) || fresh.querySelectorAll(focusable)[place];
    if (again) again.focus({ preventScroll: true });
  }

  function isSelectedIn(part) {
    const chosen = getSelection();
    return chosen && !chosen.isCollapsed && part.contains(chosen.anchorNode);
  }

  function swap(root) {
    const seen = new Map(), main = document.getElementById("main");
    let before = null;
    for (const part of parts(root)) {
      const text = part.outerHTML, old = document.getElementById(part.id);
      seen.set(part.id, text);
      if (old && isSelectedIn(old)) { seen.set(part.id, ""); before = old; continue; }
      if (old && last.get(part.id) === text) { before = old; continue; }
      const fresh = document.adoptNode(part);
      if (old) keep(old, fresh);
      else if (before && before.parentElement === main) before.after(fresh);
      else main.prepend(fresh);
      before = fresh;
    }
    for (const part of [...main.children]) if (!seen.has(part.id)) part.remove();
    last = seen;
  }

  function announce() {
    const title = document.getElementById("verdict-title").textContent;
    if (title === word && Date.now() - saidAt < SAY_EVERY_MS) return;
    const sentence = title + ". " + document.querySelector("#verdict .sentence").textContent.trim();
    if (word && said.textContent !== sentence) { said.textContent = sentence; saidAt = Date.now(); }
    word = title;
  }

  function show(text, isOver) {
    if (now.textContent !== text) now.textContent = text;
    now.parentElement.classList.toggle("over", isOver);
  }

  async function refresh() {
    clearTimeout(timer);
    if (document.hidden) return;
    try {
      const answer = await fetch("/", { cache: "no-store", signal: AbortSignal.timeout(30000) });
      if (!answer.ok) throw new Error(String(answer.status));
      const root = new DOMParser().parseFromString(await answer.text(), "text/html");
      document.body.dataset.every = root.body.dataset.every;
      swap(root);
      announce();
      misses = 0;
      show("Live: asked again every " + Math.round(document.body.dataset.every / 1000) + " s", false);
    } catch {
      misses += 1;
      if (misses > 2) {
        const over = "No longer live: `importer report --live` has ended. The numbers are as of the time above.";
        show(over, true);
        if (misses === 3) said.textContent = over;
      }
    }
    timer = setTimeout(refresh, misses > 2 ? 10000 : Number(document.body.dataset.every));
  }

  for (const part of parts(document)) last.set(part.id, part.outerHTML);
  document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
  announce();
  show("Live: asked again every " + Math.round(document.body.dataset.every / 1000) + " s", false);
  timer = setTimeout(refresh, Number(document.body.dataset.every));
})();
