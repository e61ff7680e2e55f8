"""HTTP: routes, problem details, pages with cursors, Server-Sent Events, OpenAPI."""
