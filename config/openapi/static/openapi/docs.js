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
});
