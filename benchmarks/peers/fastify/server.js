// The update call with Fastify and pg, like in a tutorial. For comparison; never deploy it.
//
//     node server.js --port 8000

import { createHash, createHmac, timingSafeEqual } from 'node:crypto'
import { parseArgs } from 'node:util'

import jwt from '@fastify/jwt'
import Fastify from 'fastify'
import pg from 'pg'

import { encrypter } from './fernet.js'

const { DATABASE_URL, FERNET_KEYS, JWT_SIGNING_KEY, PORTAL_ACCESS_CODE } = process.env
const COLUMNS = {
  connectionName: 'connection_name',
  connectionDescription: 'connection_description',
  stripeAccountId: 'stripe_account_id',
  apiKey: 'api_key',
  webhookSecret: 'webhook_secret',
  partnerEndpoint: 'partner_endpoint',
  configJson: 'config_json',
}
const MESSAGES = { 401: 'Invalid or expired token', 500: 'Internal server error' }
const SECRETS = new Set(['api_key', 'webhook_secret'])

// A query with a name is prepared once for each database connection.
const CALLER = {
  name: 'caller',
  text: `
    SELECT u.id, u.username, u.password, m.role, w.id AS workspace_id, t.biz_id AS tenant_biz_id
    FROM auth_user u
    JOIN workspaces_membership m ON m.user_id = u.id
    JOIN workspaces_workspace w ON w.id = m.workspace_id
    JOIN workspaces_tenant t ON t.id = w.tenant_id
    WHERE u.id = $1 AND u.is_active AND w.biz_id = $2 AND w.is_active`,
}
const LOCK = {
  name: 'lock',
  text: `
    SELECT id, biz_id, connection_name, connection_description, stripe_account_id, api_key_hint,
      webhook_secret_hint, partner_endpoint, config_json
    FROM stripe_connections_stripeconnection
    WHERE workspace_id = $1 AND biz_id = $2 FOR UPDATE`,
}
const RECORD = {
  name: 'record',
  text: `
    INSERT INTO auditlog_logentry (content_type_id, object_pk, object_id, object_repr, action,
      changes, changes_text, actor_id, cid, timestamp, additional_data)
    VALUES ($1, $2, $3, $4, 1, $5, '', $6, $7, $8, $9)`,
}

const text = (limits) => ({ type: 'string', ...limits })
const nullableText = (limits) => ({ type: 'string', nullable: true, ...limits })
const body = {
  type: 'object',
  required: ['connectionBizId'],
  additionalProperties: false,
  properties: {
    connectionBizId: text({ minLength: 1, maxLength: 64 }),
    connectionName: text({ minLength: 1, maxLength: 128, pattern: '\\S' }),
    connectionDescription: nullableText({ maxLength: 1000 }),
    stripeAccountId: nullableText({ maxLength: 255, pattern: '^acct_[A-Za-z0-9]+$' }),
    apiKey: text({ maxLength: 1024, pattern: '^(sk|rk)_[A-Za-z0-9_]{10,}$' }),
    webhookSecret: text({ maxLength: 1024, pattern: '^whsec_[A-Za-z0-9+/=_-]{10,}$' }),
    partnerEndpoint: nullableText({ maxLength: 2048, format: 'uri', pattern: '^https://[^/@#]+' }),
    configJson: nullableText({ maxLength: 16384 }),
  },
}
const answer = {
  type: 'object',
  properties: {
    version: text(),
    timestamp: { type: 'integer' },
    success: { type: 'boolean' },
    code: text(),
    message: text(),
    data: {
      type: 'object',
      properties: {
        bizId: text(),
        tenantBizId: text(),
        connectionName: text(),
        connectionDescription: nullableText(),
        stripeAccountId: nullableText(),
        partnerEndpoint: nullableText(),
        configJson: nullableText(),
        status: { type: 'integer' },
        statusName: text(),
        createdAt: text(),
        updatedAt: text(),
      },
    },
  },
}

const pool = new pg.Pool({ connectionString: DATABASE_URL })
const encrypt = encrypter(FERNET_KEYS.split(',')[0])
const portalCode = Buffer.from(PORTAL_ACCESS_CODE)
const contentType = await pool.query(
  `SELECT id FROM django_content_type
   WHERE app_label = 'stripe_connections' AND model = 'stripeconnection'`,
)
const contentTypeId = contentType.rows[0].id

const fastify = Fastify({ ajv: { customOptions: { coerceTypes: false, removeAdditional: false } } })
fastify.register(jwt, { secret: JWT_SIGNING_KEY, verify: { algorithms: ['HS256'] } })
fastify.decorateRequest('caller', null)

class HttpError extends Error {
  constructor(statusCode, message) {
    super(message)
    this.statusCode = statusCode
  }
}

fastify.setErrorHandler((error, request, reply) => {
  const status = error.statusCode ?? 500
  const message = MESSAGES[status] ?? error.message
  reply.code(status).send({ ...envelope(`${status}0`, message), success: false })
})

async function checkPortal(request) {
  const code = Buffer.from(request.headers['x-portal-access-code'] ?? '')
  if (code.length !== portalCode.length || !timingSafeEqual(code, portalCode)) {
    throw new HttpError(403, 'Forbidden')
  }
}

async function authenticate(request) {
  const claims = await request.jwtVerify()
  const found = await pool.query(CALLER, [claims.user_id, request.params.workspaceId])
  const [caller] = found.rows
  if (!caller || caller.role !== 'manager') throw new HttpError(403, 'Forbidden')
  const stamp = createHash('md5').update(caller.password).digest('hex').toUpperCase()
  if (claims.token_type !== 'access' || claims.hash_password !== stamp) {
    throw new HttpError(401, 'Invalid or expired token')
  }
  request.caller = caller
}

fastify.post(
  '/web/v1/workspaces/:workspaceId/stripe/connections/update',
  { onRequest: [checkPortal, authenticate], schema: { body, response: { 200: answer } } },
  async (request, reply) => {
    const { connectionBizId, ...fields } = request.body
    checkConfig(fields.configJson)
    const requestId = request.headers['x-request-id']
    const connection = await transaction((client) =>
      updateConnection(client, request.caller, connectionBizId, fields, requestId),
    )
    reply.headers({
      ETag: `"${connection.version}"`,
      'Cache-Control': 'no-store',
      'X-Request-Id': requestId,
    })
    return { ...envelope('2000', 'SUCCESS'), data: shown(connection, request.caller) }
  },
)

function checkConfig(value) {
  if (value == null) return
  try {
    if (JSON.parse(value)?.constructor === Object) return
  } catch {
    // Not JSON: the same error.
  }
  throw new HttpError(400, 'configJson must be a JSON object')
}

async function transaction(work) {
  const client = await pool.connect()
  try {
    await client.query('BEGIN')
    const result = await work(client)
    await client.query('COMMIT')
    return result
  } catch (error) {
    await client.query('ROLLBACK')
    throw error
  } finally {
    client.release()
  }
}

async function updateConnection(client, caller, bizId, fields, requestId) {
  const locked = await client.query(LOCK, [caller.workspace_id, bizId])
  const [old] = locked.rows
  if (!old) throw new HttpError(404, 'Stripe tenant connection not found')
  const values = {}
  const changes = {}
  const given = []
  for (const [index, [field, column]] of Object.entries(COLUMNS).entries()) {
    if (!(field in fields)) continue
    given.push(index)
    const value = fields[field]
    if (SECRETS.has(column)) {
      Object.assign(values, secretColumns(column, value))
      changes[column] = [old[`${column}_hint`], `replaced ${values[`${column}_hint`]}`]
    } else {
      values[column] = value
      changes[column] = [old[column], value]
    }
  }
  const columns = Object.keys(values)
  const assignments = columns.map((column, index) => `${column} = $${index + 2}`)
  const updated = await client.query({
    name: `update ${given}`,
    text: `
      UPDATE stripe_connections_stripeconnection
      SET ${['version = version + 1', 'updated_at = now()', ...assignments].join(', ')}
      WHERE id = $1
      RETURNING biz_id, connection_name, connection_description, stripe_account_id,
        partner_endpoint, config_json, status, created_at, updated_at, version`,
    values: [old.id, ...Object.values(values)],
  })
  const [connection] = updated.rows
  const who = { source: 'api', username: caller.username, version: Number(connection.version) }
  await client.query(RECORD, [
    contentTypeId, String(old.id), old.id, old.biz_id, changes, caller.id, requestId,
    connection.updated_at, who,
  ])
  return connection
}

function secretColumns(column, secret) {
  const fingerprint = createHmac('sha256', JWT_SIGNING_KEY).update(secret).digest('hex')
  return {
    [column]: encrypt(secret),
    [`${column}_hint`]: `${secret.slice(0, secret.lastIndexOf('_') + 1)}…${secret.slice(-4)}`,
    [`${column}_fingerprint`]: fingerprint,
    [`${column}_replaced_at`]: new Date(),
  }
}

function envelope(code, message) {
  return { version: '1.3.0', timestamp: Date.now(), success: true, code, message }
}

function shown(connection, caller) {
  return {
    bizId: connection.biz_id,
    tenantBizId: caller.tenant_biz_id,
    connectionName: connection.connection_name,
    connectionDescription: connection.connection_description,
    stripeAccountId: connection.stripe_account_id,
    partnerEndpoint: connection.partner_endpoint,
    configJson: connection.config_json,
    status: connection.status,
    statusName: connection.status ? 'ACTIVE' : 'INACTIVE',
    createdAt: seconds(connection.created_at),
    updatedAt: seconds(connection.updated_at),
  }
}

function seconds(date) {
  return `${date.toISOString().slice(0, 19)}Z`
}

const { values: options } = parseArgs({ options: { port: { type: 'string', default: '8000' } } })
await fastify.listen({ host: '127.0.0.1', port: Number(options.port) })
