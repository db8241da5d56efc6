import createClient, { type Client } from "openapi-fetch";
import type { components, paths } from "./schema.js";

export type StripeConnection = components["schemas"]["StripeConnection"];
export type ConnectionDetail = components["schemas"]["ConnectionDetail"];
export type CreateConnection = components["schemas"]["CreateConnection"];
export type UpdateConnection = components["schemas"]["UpdateConnection"];
export type FieldError = components["schemas"]["FieldError"];
export type FieldErrorCode = components["schemas"]["FieldErrorCode"];

/** Calls of the service at `baseUrl`; `token` is asked for the access token of every call. */
export function connect(
  baseUrl: string,
  token: () => string | undefined | Promise<string | undefined>,
  headers: Record<string, string> = {},
): Client<paths> {
  const client = createClient<paths>({ baseUrl, headers });
  client.use({
    async onRequest({ request }) {
      const current = await token();
      if (current !== undefined) {
        request.headers.set("Authorization", `Bearer ${current}`);
      }
      return request;
    },
  });
  return client;
}
