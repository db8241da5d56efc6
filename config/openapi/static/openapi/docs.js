"use strict";

SwaggerUIBundle({
  url: document.currentScript.dataset.url,
  dom_id: "#docs",
  deepLinking: true,
  displayRequestDuration: true,
  // A token stays in this window's memory, and is gone with it.
  persistAuthorization: false,
  tryItOutEnabled: true,
  // No picture of a validator on another host.
  validatorUrl: null,
  // The summary of a call is a button, which cannot contain a link.
  plugins: [{
    wrapComponents: {
      DeepLink: (_Link, { React }) => ({ text }) => React.createElement("span", null, text),
    },
  }],
});

// Swagger UI gives these inputs no name for a screen reader.
const NAMES = { ".examples-select-element": "Example", ".body-param__text": "Request body" };
new MutationObserver(() => {
  for (const [selector, name] of Object.entries(NAMES)) {
    for (const input of document.querySelectorAll(selector)) input.setAttribute("aria-label", name);
  }
}).observe(document.querySelector("#docs"), { childList: true, subtree: true });
