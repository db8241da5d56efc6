// Fernet tokens (https://github.com/fernet/spec): AES-128-CBC and HMAC-SHA256. Node has none.
import { createCipheriv, createHmac, randomBytes } from 'node:crypto'

export function encrypter(base64Key) {
  const key = Buffer.from(base64Key, 'base64url')
  const signingKey = key.subarray(0, 16)
  const encryptionKey = key.subarray(16)

  return function encrypt(text) {
    const head = Buffer.alloc(9, 0x80)
    head.writeBigUInt64BE(BigInt(Math.floor(Date.now() / 1000)), 1)
    const iv = randomBytes(16)
    const cipher = createCipheriv('aes-128-cbc', encryptionKey, iv)
    const parts = [head, iv, cipher.update(text, 'utf8'), cipher.final()]
    const signature = createHmac('sha256', signingKey)
    for (const part of parts) signature.update(part)
    const token = Buffer.concat([...parts, signature.digest()]).toString('base64')
    return Buffer.from(token.replaceAll('+', '-').replaceAll('/', '_'))
  }
}
