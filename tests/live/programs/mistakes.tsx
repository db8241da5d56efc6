// A `@ts-expect-error` above a line without an error is an error.
import { connect, resultOf, type FieldErrorCode, type UpdateConnection } from "stripe-connections-client";
const client = connect("", () => undefined);
const update = "/web/v1/workspaces/{workspaceId}/stripe/connections/update";
const params = { path: { workspaceId: "ws_demo" } };
client.POST(update, { params, body: { connectionBizId: "sc_1", configJson: null } });
// @ts-expect-error a misspelt field
const misspelt: UpdateConnection = { connectionBizId: "sc_1", apikey: "" };
// @ts-expect-error a secret that is wiped
client.POST(update, { params, body: { connectionBizId: "sc_1", apiKey: null } });
// @ts-expect-error no connection
client.POST(update, { params, body: { connectionName: "x" } });
// @ts-expect-error no workspace
client.POST(update, { body: { connectionBizId: "sc_1" } });
// @ts-expect-error another method
client.GET(update, { params });
const connections = "/web/v1/workspaces/{workspaceId}/stripe/connections";
const create = `${connections}/create` as const;
const key = { "Idempotency-Key": "a key" };
client.POST(create, { params: { ...params, header: key }, body: { connectionName: "x" } });
// @ts-expect-error no name
client.POST(create, { params, body: { connectionDescription: "x" } });
const page = await client.GET(connections, { params: { ...params, query: { status: "ACTIVE" } } });
page.data?.data.items[0]?.extra.verification.outcome;
// @ts-expect-error a secret in a list
page.data?.data.items[0]?.extra.apiKey;
client.GET("/web/v1/workspaces", { params: { query: { limit: 10 } } });
client.POST(`${connections}/status`, { params, body: { connectionBizId: "x", status: "ACTIVE" } });
// @ts-expect-error no such order
client.GET(connections, { params: { ...params, query: { sort: "apiKey" } } });
// @ts-expect-error no such status
client.GET(connections, { params: { ...params, query: { status: "active" } } });
const { data } = await client.POST(update, { params, body: { connectionBizId: "sc_1" } });
// @ts-expect-error a secret in an answer
data?.data.apiKey;
const result = await resultOf(client.POST(update, { params, body: { connectionBizId: "sc_1" } }));
if (result.kind === "ok") result.data.connectionName;
// @ts-expect-error only a success has data
result.data;
if (result.kind === "throttled") result.retryAfter.toFixed();
if (result.kind === "invalid") {
  const code: FieldErrorCode = result.errors[0]!.code;
  // @ts-expect-error no such code
  if (code === "nonsense") throw new Error();
}
