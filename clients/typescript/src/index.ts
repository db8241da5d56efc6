import createClient, { type Client } from "openapi-fetch";
import type { components, paths } from "./schema.js";
import type { TokenSource } from "./session.js";

export { resultOf, type FieldError, type Result } from "./results.js";
export { memoryStore, Session, sharedStore } from "./session.js";
export type { Tokens, TokenSource, TokenStore } from "./session.js";
export type { components, paths } from "./schema.js";

export type Workspace = components["schemas"]["Workspace"];
export type StripeConnection = components["schemas"]["StripeConnection"];
export type ConnectionDetail = components["schemas"]["ConnectionDetail"];
export type CreateConnection = components["schemas"]["CreateConnection"];
export type UpdateConnection = components["schemas"]["UpdateConnection"];
export type FieldErrorCode = components["schemas"]["FieldErrorCode"];
export type StripeConnectionsClient = Client<paths>;

/**
 * The calls of the service at `baseUrl`. `source` returns the access token of every call. If the
 * service refuses it and `source` can renew it, the call is sent once more.
 */
export function connect(
  baseUrl: string,
  source: TokenSource | TokenSource["token"],
  headers: Record<string, string> = {},
): StripeConnectionsClient {
  const tokens: TokenSource = typeof source === "function" ? { token: source } : source;
  return createClient<paths>({ baseUrl, headers, fetch: (request) => send(request, tokens) });
}

async function send(request: Request, tokens: TokenSource): Promise<Response> {
  const token = await tokens.token();
  // A body can be sent once.
  const again = request.clone();
  const response = await fetch(authorized(request, token));
  if (response.status !== 401 || token === undefined || !tokens.renew) return response;
  const renewed = await tokens.renew(token);
  if (renewed instanceof Response) return renewed;
  return renewed === undefined ? response : fetch(authorized(again, renewed));
}

function authorized(request: Request, token: string | undefined): Request {
  if (token !== undefined) request.headers.set("Authorization", `Bearer ${token}`);
  return request;
}
