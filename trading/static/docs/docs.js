"use strict";

// Everything comes from this service: no validator badge, which would ask another host.
SwaggerUIBundle({
  url: "/api/schema?format=json",
  dom_id: "#swagger-ui",
  presets: [SwaggerUIBundle.presets.apis],
  layout: "BaseLayout",
  deepLinking: true,
  validatorUrl: null,
});
