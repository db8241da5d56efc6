// On every page of the admin: copies IDs, and names inputs that have no name for a screen reader.
"use strict";
{
  for (const shown of document.querySelectorAll(".field-biz_id .readonly, #id_stripe_account_id")) {
    if (!(shown.value ?? shown.textContent).trim()) continue;
    const label = shown.closest(".form-row").querySelector("label");
    label.id ||= `label-${shown.id || "biz_id"}`;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = "Copy";
    button.setAttribute("aria-describedby", label.id);
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(shown.value ?? shown.textContent.trim());
      button.textContent = "Copied";
    });
    shown.after(button);
  }

  const name = () => {
    for (const cell of document.querySelectorAll(".tabular td")) {
      const column = cell.closest("table").rows[0].cells[cell.cellIndex];
      for (const input of cell.querySelectorAll("select, input:not([type=hidden])")) {
        input.setAttribute("aria-label", column.textContent.trim());
      }
    }
    for (const box of document.querySelectorAll(".select2-selection")) {
      const select = box.closest(".select2-container").previousElementSibling;
      box.removeAttribute("aria-labelledby");
      box.setAttribute("aria-label", select.getAttribute("aria-label") || select.labels[0].textContent);
      for (const text of box.querySelectorAll("[role=textbox]")) {
        text.removeAttribute("role");
        text.removeAttribute("aria-readonly");
      }
    }
  };
  name();
  // Django's scripts add such inputs later.
  new MutationObserver(name).observe(document.body, { childList: true, subtree: true });
}
