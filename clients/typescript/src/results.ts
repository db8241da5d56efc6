import type { components } from "./schema.js";

export type FieldError = components["schemas"]["FieldError"];

/** What every failure has; without a response, there is neither. */
interface Failure {
  message: string;
  /** Include it if you report a problem. */
  requestId?: string | undefined;
}

/** The result of a call: `switch (result.kind)`. */
export type Result<T> =
  | { kind: "ok"; data: T; etag: string | undefined; isReplayed: boolean }
  /** 400: nothing was written; each bad field has an error. */
  | ({ kind: "invalid"; errors: FieldError[] } & Failure)
  /** 401: log in again. */
  | ({ kind: "loggedOut" } & Failure)
  /** 403: the caller lacks the permission, or there is no such workspace. */
  | ({ kind: "forbidden" } & Failure)
  /** 404 */
  | ({ kind: "notFound" } & Failure)
  /** 412: somebody else changed the connection since the version in `If-Match`. */
  | ({ kind: "conflict" } & Failure)
  /** 422: the `Idempotency-Key` was used with another body. */
  | ({ kind: "keyReused" } & Failure)
  /** 429: try again after so many seconds. */
  | ({ kind: "throttled"; retryAfter: number } & Failure)
  /** 502, 503, 504: try again after so many seconds. */
  | ({ kind: "unavailable"; retryAfter: number } & Failure)
  /** No response, or one that cannot be read: the call may have been carried out, or not. */
  | ({ kind: "network"; cause: unknown } & Failure)
  /** Any other status. */
  | ({ kind: "failed"; status: number; code: string | undefined } & Failure);

interface Envelope<T> {
  data: T;
}
interface Answer<T> {
  data?: Envelope<T> | undefined;
  error?: unknown;
  response: Response;
}

/** The result of `client.GET(…)` or `client.POST(…)`. It throws only if the call was aborted. */
export async function resultOf<T>(call: Promise<Answer<T>>): Promise<Result<T>> {
  try {
    const { data, error, response } = await call;
    if (data === undefined) return failureOf(response, error);
    const etag = response.headers.get("ETag") ?? undefined;
    const isReplayed = response.headers.get("Idempotent-Replayed") === "true";
    return { kind: "ok", data: data.data, etag, isReplayed };
  } catch (cause) {
    if (cause instanceof Error && cause.name === "AbortError") throw cause;
    return { kind: "network", cause, message: "The service did not answer." };
  }
}

function failureOf(response: Response, error: unknown): Result<never> {
  // A proxy may answer without the envelope.
  const body = (typeof error === "object" && error !== null ? error : {}) as {
    code?: string;
    message?: string;
    errors?: FieldError[];
  };
  const requestId = response.headers.get("X-Request-Id") ?? undefined;
  const failure = { message: body.message ?? `HTTP status ${response.status}`, requestId };
  const retryAfter = Number(response.headers.get("Retry-After")) || 1;
  switch (response.status) {
    case 400:
      return { kind: "invalid", errors: body.errors ?? [], ...failure };
    case 401:
      return { kind: "loggedOut", ...failure };
    case 403:
      return { kind: "forbidden", ...failure };
    case 404:
      return { kind: "notFound", ...failure };
    case 412:
      return { kind: "conflict", ...failure };
    case 422:
      return { kind: "keyReused", ...failure };
    case 429:
      return { kind: "throttled", retryAfter, ...failure };
    case 502:
    case 503:
    case 504:
      return { kind: "unavailable", retryAfter, ...failure };
    default:
      return { kind: "failed", status: response.status, code: body.code, ...failure };
  }
}
