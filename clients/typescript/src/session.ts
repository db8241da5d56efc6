/** The tokens of a login. */
export interface Tokens {
  accessToken: string;
  refreshToken: string;
}

/** Where a session keeps its tokens. `read` returns what was written last, by any tab. */
export interface TokenStore {
  read(): Tokens | undefined;
  write(tokens: Tokens | undefined): void;
}

/** The access tokens for the calls of a client. */
export interface TokenSource {
  token(): string | undefined | Promise<string | undefined>;
  /**
   * Called after a 401, with the token that was refused. Returns another token for a second attempt,
   * undefined if there is none, or a response that says why it could not be renewed now.
   */
  renew?(refused: string): Promise<string | Response | undefined>;
}

const JSON_BODY = { "Content-Type": "application/json" };
const LOCK = "stripe-connections-session";
const ATTEMPTS = 20;

/** Tokens in memory: for Node, and for a page that is open in one tab and forgets them at the end. */
export function memoryStore(): TokenStore {
  let stored: Tokens | undefined;
  return { read: () => stored, write: (tokens) => void (stored = tokens) };
}

/**
 * Tokens that all tabs of the page's origin share, also after the browser was closed. Every script
 * of the origin can read them: use it only with a strict Content-Security-Policy.
 */
export function sharedStore(key = "stripe-connections"): TokenStore {
  return {
    read: () => JSON.parse(localStorage.getItem(key) ?? "null") ?? undefined,
    write: (tokens) =>
      tokens ? localStorage.setItem(key, JSON.stringify(tokens)) : localStorage.removeItem(key),
  };
}

/** A login with user name and password, which renews its tokens. */
export class Session implements TokenSource {
  #renewal: Promise<string | Response | undefined> | undefined;

  constructor(
    private readonly baseUrl: string,
    private readonly store: TokenStore = memoryStore(),
    private readonly headers: Record<string, string> = {},
  ) {}

  /** Log in. Returns the response; its status is 401 if the name or the password is wrong. */
  async logIn(username: string, password: string): Promise<Response> {
    return this.#obtain("token", { username, password });
  }

  /** Forget the tokens, in all tabs. */
  logOut(): void {
    this.store.write(undefined);
  }

  get isLoggedIn(): boolean {
    return this.store.read() !== undefined;
  }

  token(): string | undefined {
    return this.store.read()?.accessToken;
  }

  async renew(refused: string): Promise<string | Response | undefined> {
    // One renewal at a time for all calls of this tab.
    this.#renewal ??= this.#locked(refused).finally(() => (this.#renewal = undefined));
    const renewed = await this.#renewal;
    return renewed instanceof Response ? renewed.clone() : renewed;
  }

  /** One renewal at a time for all tabs, if they can share a lock. */
  async #locked(refused: string): Promise<string | Response | undefined> {
    const locks = globalThis.navigator?.locks as LockManager | undefined;
    return locks
      ? locks.request(LOCK, () => this.#renewed(refused, false))
      : this.#renewed(refused, true);
  }

  async #renewed(refused: string, hasNoLock: boolean): Promise<string | Response | undefined> {
    const stored = this.store.read();
    // Another call or another tab was faster, or the user has logged out.
    if (stored?.accessToken !== refused) return stored?.accessToken;
    const response = await this.#obtain("token/refresh", { refreshToken: stored.refreshToken });
    if (response.ok) return this.token();
    if (response.status !== 401) return response;
    // A refresh token can be used once. Without a lock (Web Locks need https), another tab may
    // have used it, and writes the new one as soon as it has the response.
    for (let attempt = 0; hasNoLock && attempt < ATTEMPTS; attempt++) {
      if (this.token() !== refused) return this.token();
      await new Promise((done) => setTimeout(done, 100));
    }
    this.logOut();
    return undefined;
  }

  async #obtain(call: string, body: object): Promise<Response> {
    const response = await fetch(`${this.baseUrl}/web/v1/auth/${call}`, {
      method: "POST",
      headers: { ...JSON_BODY, ...this.headers },
      body: JSON.stringify(body),
    });
    if (response.ok) this.store.write((await response.clone().json()).data);
    return response;
  }
}
