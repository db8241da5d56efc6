import { useCallback, useEffect, useState, type FormEvent } from "react";
import {
  resultOf,
  type ConnectionDetail,
  type Result,
  type StripeConnectionsClient,
  type UpdateConnection,
} from "stripe-connections-client";

const BASE = "/web/v1/workspaces/{workspaceId}/stripe/connections";
const FIELDS = {
  connectionName: "Name",
  connectionDescription: "Description",
  stripeAccountId: "Stripe account ID",
  partnerEndpoint: "Partner endpoint",
} as const;
// Empty at first: a secret can be replaced but not read. Of a stored one, the hint is shown.
const SECRETS = { apiKey: "New API key", webhookSecret: "New webhook secret" } as const;
type Field = keyof typeof FIELDS;
type Name = Field | keyof typeof SECRETS;

type Draft = Partial<Record<Name, string>>;

/** An emptied field is cleared, and an emptied secret is left out. */
function changes(draft: Draft): Omit<UpdateConnection, "connectionBizId"> {
  const sent = Object.entries(draft).filter(([name, text]) => text !== "" || !(name in SECRETS));
  const values = sent.map(([name, text]) => [name, text === "" && name !== "connectionName" ? null : text]);
  return Object.fromEntries(values);
}

interface Props {
  client: StripeConnectionsClient;
  workspaceId: string;
  connectionBizId: string;
  canManage: boolean;
  onLoggedOut: () => void;
}

/** The settings of one connection: only what was edited is sent, and nobody's change is lost. */
export function SettingsForm({ client, workspaceId, connectionBizId, ...props }: Props) {
  const [shown, setShown] = useState<ConnectionDetail>();
  const [draft, setDraft] = useState<Draft>({});
  const [errors, setErrors] = useState<Record<string, string>>({});
  const [notice, setNotice] = useState("");
  const path = { workspaceId };

  const load = useCallback(async () => {
    const params = { path: { workspaceId, connectionBizId } };
    const result = await resultOf(client.GET(`${BASE}/{connectionBizId}`, { params }));
    if (result.kind === "ok") setShown(result.data);
    else setNotice(result.message);
  }, [client, workspaceId, connectionBizId]);
  useEffect(() => void load(), [load]);
  if (!shown) return <p role="status">{notice || "Loading …"}</p>;

  const { extra } = shown;
  const version = { "If-Match": `"${extra.version}"` };

  async function finish(result: Result<unknown>, success: string) {
    setErrors({});
    setNotice("message" in result ? result.message : success);
    switch (result.kind) {
      case "ok":
        setDraft({});
        return load();
      case "invalid":
        return setErrors(Object.fromEntries(result.errors.map((e) => [e.field ?? "", e.message])));
      case "conflict":
        setNotice("Somebody else has changed this connection. Your input is kept: check and save.");
        return load();
      case "throttled":
      case "unavailable":
        return setNotice(`${result.message}. Try again in ${result.retryAfter} seconds.`);
      case "loggedOut":
        return props.onLoggedOut();
    }
  }

  async function save(event: FormEvent) {
    event.preventDefault();
    const body = { connectionBizId, ...changes(draft) };
    const params = { path, header: version };
    await finish(await resultOf(client.POST(`${BASE}/update`, { params, body })), "Saved.");
  }

  async function verify() {
    const call = client.POST(`${BASE}/verify`, { params: { path }, body: { connectionBizId } });
    await finish(await resultOf(call), "Verified.");
  }

  async function toggle() {
    const status = shown?.statusName === "ACTIVE" ? "INACTIVE" : "ACTIVE";
    const params = { path, header: version };
    const call = client.POST(`${BASE}/status`, { params, body: { connectionBizId, status } });
    await finish(await resultOf(call), status === "ACTIVE" ? "Connected." : "Disconnected.");
  }

  const input = (name: Name, label: string, value: string, type = "text") => (
    <p key={name}>
      <label>
        {label}{" "}
        <input
          type={type}
          autoComplete="off"
          value={draft[name] ?? value}
          onChange={(event) => setDraft({ ...draft, [name]: event.target.value })}
        />
      </label>
      {errors[name] && <strong role="alert">{errors[name]}</strong>}
    </p>
  );
  const hints = { apiKey: extra.apiKeyHint, webhookSecret: extra.webhookSecretHint };
  return (
    <form onSubmit={save}>
      <h1>{shown.connectionName}</h1>
      <p>
        {shown.statusName}, {extra.mode ?? "no"} mode, {extra.verification.outcome}. Key:{" "}
        {hints.apiKey ?? "none"}. Webhook secret: {hints.webhookSecret ?? "none"}.
      </p>
      <fieldset disabled={!props.canManage}>
        {Object.entries(FIELDS).map(([name, label]) =>
          input(name as Field, label, shown[name as Field] ?? ""),
        )}
        {Object.entries(SECRETS).map(([name, label]) => input(name as Name, label, "", "password"))}
        <button disabled={Object.keys(draft).length === 0}>Save</button>{" "}
        <button type="button" onClick={verify}>Verify with Stripe</button>{" "}
        <button type="button" onClick={toggle}>
          {shown.statusName === "ACTIVE" ? "Disconnect" : "Connect"}
        </button>
      </fieldset>
      <p role="status">{errors[""] ?? notice}</p>
    </form>
  );
}
