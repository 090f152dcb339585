#!/usr/bin/env node
// Imports an encryption key into @VENDOR@: makes or reads 32 bytes, keeps a protected backup, wraps them for every region
// that waits for a key, uploads them in one round, prints receipts. Run it again after a failure: it goes on with the same
// key where it stopped.
//
//   API_KEY_FILE=api-key.txt BACKUP_PASSPHRASE_FILE=passphrase.txt node import-key.mjs test
//
// Needs Node.js 18 or newer and no packages. Settings, all from the environment:
//
//   API_KEY or API_KEY_FILE    the API key of that environment, or a file that holds it
//   BACKUP                     the protected backup of the key; made if it is missing      (ENTERPRISE-ENVIRONMENT.key.enc)
//   BACKUP_PASSPHRASE_FILE     a file that holds the backup's passphrase
//   KEY_FILE                   32 bytes of your own key management to use for a new backup, instead of new random ones
//   REGION                     one region, if each region is to have a key of its own      (all that wait)
//   WRAPPING                   RSAES_OAEP_SHA_256 or RSAES_OAEP_SHA_1                       (RSAES_OAEP_SHA_256)
//   ENDPOINT, PREFIX, ENTERPRISE   what your information packet says, if it is not filled in below
//
// The key is never written to disk unprotected and never stands in an argument. The backup is what `openssl enc` writes:
//   openssl enc -d -aes-256-cbc -pbkdf2 -iter 600000 -md sha256 -in BACKUP        gives the 32 bytes back
import { constants, createCipheriv, createDecipheriv, pbkdf2Sync, publicEncrypt, randomBytes } from "node:crypto";
import { appendFileSync, existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

const ENDPOINTS = { test: "@TEST_ENDPOINT@", production: "@PRODUCTION_ENDPOINT@" };
const DIGESTS = { RSAES_OAEP_SHA_256: "sha256", RSAES_OAEP_SHA_1: "sha1" };

class Failure extends Error {}

function settings() {
  const env = process.env;
  const environment = process.argv[2] ?? "test";
  if (!(environment in ENDPOINTS)) throw new Failure("usage: node import-key.mjs [test|production]");
  const endpoint = env.ENDPOINT ?? ENDPOINTS[environment];
  const prefix = env.PREFIX ?? "@PREFIX@";
  const enterprise = env.ENTERPRISE ?? "@ENTERPRISE@";
  if ([endpoint, prefix, enterprise].some((value) => value.startsWith("@"))) {
    throw new Failure("set ENDPOINT, PREFIX and ENTERPRISE as your information packet says");
  }
  const apiKey = env.API_KEY ?? (env.API_KEY_FILE && readFileSync(env.API_KEY_FILE, "utf8").trim());
  if (!apiKey) throw new Failure(`set API_KEY_FILE to a file that holds your API key for the ${environment} environment`);
  if (!env.BACKUP_PASSPHRASE_FILE) throw new Failure("set BACKUP_PASSPHRASE_FILE to a file that holds the backup's passphrase");
  const passphrase = readFileSync(env.BACKUP_PASSPHRASE_FILE, "utf8").replace(/\r?\n$/, "");
  if (!passphrase) throw new Failure("the backup's passphrase is empty");
  return {
    apiKey,
    passphrase,
    base: `${endpoint}${prefix}/enterprises/${enterprise}/cmk`,
    backup: env.BACKUP ?? `${enterprise}-${environment}.key.enc`,
    receipts: env.RECEIPTS ?? `${enterprise}-${environment}.receipts.jsonl`,
    keyFile: env.KEY_FILE,
    region: env.REGION,
    wrapping: env.WRAPPING ?? "RSAES_OAEP_SHA_256",
  };
}

function cipher(make, passphrase, salt) {
  const derived = pbkdf2Sync(passphrase, salt, 600_000, 48, "sha256");
  return make("aes-256-cbc", derived.subarray(0, 32), derived.subarray(32));
}

function seal(key, passphrase) {
  const salt = randomBytes(8);
  const sealing = cipher(createCipheriv, passphrase, salt);
  return Buffer.concat([Buffer.from("Salted__"), salt, sealing.update(key), sealing.final()]);
}

function unseal(sealed, passphrase) {
  const opening = cipher(createDecipheriv, passphrase, sealed.subarray(8, 16));
  return Buffer.concat([opening.update(sealed.subarray(16)), opening.final()]);
}

// Steps 1 and 2: the key, and its backup. It gets its name only when it is complete.
function keyWithBackup({ backup, keyFile, passphrase }) {
  if (!existsSync(backup)) {
    const fresh = keyFile ? readFileSync(keyFile) : randomBytes(32);
    if (fresh.length !== 32) throw new Failure(`${keyFile} does not hold exactly 32 bytes`);
    writeFileSync(`${backup}.part`, seal(fresh, passphrase), { mode: 0o600 });
    renameSync(`${backup}.part`, backup);
    fresh.fill(0);
    console.error(`made the backup ${backup}: store a copy of it, and its passphrase, where you will find them in years`);
  } else if (keyFile) {
    throw new Failure(`${backup} exists already: name another BACKUP for the key in ${keyFile}, or leave KEY_FILE out to use the backup`);
  }
  let key;
  try {
    key = unseal(readFileSync(backup), passphrase);
  } catch {
    key = Buffer.alloc(0);
  }
  if (key.length !== 32) throw new Failure(`the backup ${backup} does not open with this passphrase`);
  return key;
}

async function call({ apiKey, base }, method, path, body) {
  for (let attempt = 1; ; attempt += 1) {
    let status = 0;
    let answer = {};
    let wait = attempt;
    try {
      const response = await fetch(`${base}/${path}`, {
        method,
        headers: { authorization: `ApiKey ${apiKey}`, ...(body && { "content-type": "application/json" }) },
        body: body && JSON.stringify(body),
        signal: AbortSignal.timeout(60_000),
      });
      status = response.status;
      wait = Number(response.headers.get("retry-after")) || attempt;
      answer = await response.json().catch(() => ({}));
      if (response.ok) return answer;
    } catch (error) {
      answer = { code: "no-answer", detail: String(error.cause ?? error) };
    }
    if (attempt === 6 || ![0, 429, 503].includes(status)) return Promise.reject(Object.assign(new Failure(), { status, answer }));
    console.error(`no success yet (${status || "no answer"}): trying again in ${wait} s`);
    await sleep(wait * 1000);
  }
}

const refusal = (what, { status, answer }) =>
  new Failure(`${what} (${answer?.code ?? status}): ${answer?.detail ?? "the answer cannot be understood"}`);

// Receipts: keep them, the KeyMaterialId proves in a later re-import that the bytes are the same.
function keepReceipts({ receipts }, answer) {
  for (const { region, instance, id, keyId, keyMaterialId, status } of answer.results ?? [answer]) {
    if (!keyMaterialId) continue;
    const line = JSON.stringify({ region, instance, id, keyId, keyMaterialId, status });
    console.log(line);
    appendFileSync(receipts, `${line}\n`);
  }
}

// Steps 3 to 5 for all regions that the server opens at once. Returns the regions that still wait.
async function importRound(set, key) {
  const query = new URLSearchParams({ wrappingAlgorithm: set.wrapping, ...(set.region && { region: set.region }) });
  const request = await call(set, "PUT", `import-key-request?${query}`).catch((error) => {
    if (error.answer?.code === "import-complete") return null;
    throw error.answer ? refusal("the import request was refused", error) : error;
  });
  if (request === null) return null;
  const wanted = request.targets.filter(({ region }) => !set.region || region === set.region);
  if (wanted.length === 0) throw new Failure("no region of that name waits for a key");
  const targets = wanted.map(({ region, publicKey, importToken, algorithm }) => {
    const oaepHash = DIGESTS[algorithm];
    if (!oaepHash) throw new Failure(`the wrapping algorithm of ${region} is not one that this script knows: get a newer information packet`);
    const padding = constants.RSA_PKCS1_OAEP_PADDING;
    return { region, importToken, keyMaterial: publicEncrypt({ key: publicKey, padding, oaepHash }, key).toString("base64") };
  });
  const answer = await call(set, "POST", "import-key", { targets }).catch((error) => {
    if (!error.answer) throw error;
    if (error.answer.results) keepReceipts(set, error.answer);
    throw refusal("the upload was refused; run this again to go on, the backup keeps the key", error);
  });
  keepReceipts(set, answer);
  return answer.remaining ?? [];
}

async function main() {
  const set = settings();
  const key = keyWithBackup(set);
  try {
    for (let round = 1; round <= 10; round += 1) {
      const remaining = await importRound(set, key);
      if (remaining === null) return console.error("nothing waits for a key: every region has it already");
      if (remaining.length === 0) return console.error(`all regions have their key; receipts are in ${set.receipts}`);
      if (set.region) return console.error(`${set.region} has its key; still waiting for one: ${remaining.join(", ")}`);
      console.error(`round ${round} is through; still waiting for a key: ${remaining.join(", ")}`);
    }
    throw new Failure("after ten rounds regions still wait for a key: run this again to go on");
  } finally {
    // Step 6: what is left of the key in this process.
    key.fill(0);
  }
}

main().catch((error) => {
  console.error(error instanceof Failure ? `import-key: ${error.message}` : error);
  process.exitCode = 1;
});
