import { StrictMode, useEffect, useState, type FormEvent } from "react";
import { createRoot } from "react-dom/client";
import { connect, resultOf, Session, sharedStore, type Workspace } from "stripe-connections-client";
import { SettingsForm } from "./SettingsForm.js";

// The page's address says where the service is and what to show:
// ?service=https://connections.example.com&workspace=ws_demo&connection=sc_abc123
const query = new URLSearchParams(location.search);
const baseUrl = query.get("service") ?? "";
const session = new Session(baseUrl, sharedStore());
const client = connect(baseUrl, session);

function Page() {
  const [isLoggedIn, setLoggedIn] = useState(session.isLoggedIn);
  const [workspaces, setWorkspaces] = useState<Workspace[]>();
  const [message, setMessage] = useState("");

  useEffect(() => {
    if (!isLoggedIn) return;
    void resultOf(client.GET("/web/v1/workspaces", {})).then((result) => {
      if (result.kind === "ok") setWorkspaces(result.data.items);
      else if (result.kind === "loggedOut") setLoggedIn(false);
      else setMessage(result.message);
    });
  }, [isLoggedIn]);

  async function logIn(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const response = await session.logIn(`${form.get("username")}`, `${form.get("password")}`);
    setMessage(response.ok ? "" : (await response.json()).message);
    setLoggedIn(response.ok);
  }

  if (!isLoggedIn) {
    return (
      <form onSubmit={logIn}>
        <label>User name <input name="username" autoComplete="username" /></label>{" "}
        <label>Password <input name="password" type="password" autoComplete="current-password" /></label>{" "}
        <button>Log in</button>
        <p role="status">{message}</p>
      </form>
    );
  }
  const workspace = workspaces?.find((each) => each.bizId === query.get("workspace"));
  if (!workspace) return <p role="status">{message || (workspaces ? "No such workspace." : "Loading …")}</p>;
  return (
    <SettingsForm
      client={client}
      workspaceId={workspace.bizId}
      connectionBizId={query.get("connection") ?? ""}
      canManage={workspace.permissions.includes("workspace:manage")}
      onLoggedOut={() => setLoggedIn(false)}
    />
  );
}

createRoot(document.getElementById("page")!).render(<StrictMode><Page /></StrictMode>);
