// Keeps what staff typed if their session ends: it stays in this tab, without secrets, until a page
// appears that does not interrupt the form. Warns before a changed form is left.
"use strict";
{
  const KEY = "stripe-connections-draft";
  const form = document.querySelector("#stripeconnection_form");
  const draft = JSON.parse(sessionStorage.getItem(KEY) || "null");
  const inputs = () =>
    [...form.elements].filter(
      (e) => e.name && e.name !== "csrfmiddlewaretoken" && !["password", "submit", "file"].includes(e.type));
  const note = (text) => {
    const line = document.createElement("p");
    line.className = "errornote";
    line.textContent = text;
    document.querySelector("#content").prepend(line);
  };
  const interrupts = "interrupts" in document.currentScript.dataset;
  if (!interrupts) sessionStorage.removeItem(KEY);
  if (interrupts && draft) {
    sessionStorage.setItem(KEY, JSON.stringify({ ...draft, interrupted: true }));
    note("Your session has ended or somebody logged in in another tab, so nothing was saved. Log in: "
      + "what you typed is kept in this tab, except for secrets.");
  }
  if (form) {
    let changed = Boolean(document.querySelector(".errornote"));
    if (draft && draft.interrupted && draft.path === location.pathname) {
      for (const input of inputs()) {
        if (!(input.name in draft.values)) continue;
        const value = draft.values[input.name];
        if (input.type === "checkbox") input.checked = value;
        else input.value = value;
      }
      note("What you typed before is here again and is not saved yet. Type secrets again.");
      changed = true;
    }
    form.addEventListener("input", () => { changed = true; });
    addEventListener("beforeunload", (event) => { if (changed) event.preventDefault(); });
    form.addEventListener("submit", () => {
      changed = false;
      const values = Object.fromEntries(
        inputs().map((e) => [e.name, e.type === "checkbox" ? e.checked : e.value]));
      sessionStorage.setItem(KEY, JSON.stringify({ path: location.pathname, values }));
    });
  }
}
