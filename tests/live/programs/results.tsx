// Makes concurrent calls and prints their results and the tokens. `limit` is the expected status.
import { connect, resultOf, Session, memoryStore } from "stripe-connections-client";
declare const process: { argv: string[] };
const baseUrl = process.argv[2]!;
const store = memoryStore();
store.write({ accessToken: "first", refreshToken: "spent once" });
const client = connect(baseUrl, new Session(baseUrl, store));
const get = (status: string) =>
  resultOf(client.GET("/web/v1/workspaces", { params: { query: { limit: Number(status) } } }));
const results = await Promise.all(process.argv.slice(3).map(get));
console.log(JSON.stringify({ results, tokens: store.read() ?? null }));
