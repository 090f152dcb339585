#!/usr/bin/env python3
"""Imports an encryption key into @VENDOR@: makes or reads 32 bytes, keeps a protected backup, wraps them for every region
that waits for a key, uploads them in one round, prints receipts. Run it again after a failure: it goes on with the same key
where it stopped.

    API_KEY_FILE=api-key.txt python3 import-key.py test
    API_KEY_FILE=api-key.txt python3 import-key.py production

Needs Python 3.9 or newer with `cryptography` and `requests`. Settings, all from the environment:

    API_KEY or API_KEY_FILE    the API key of that environment, or a file that holds it
    BACKUP                     the protected backup of the key; made if it is missing      (ENTERPRISE-ENVIRONMENT.key.enc)
    BACKUP_PASSPHRASE_FILE     a file that holds the backup's passphrase; asked for if it is not given
    KEY_FILE                   32 bytes of your own key management to use for a new backup, instead of new random ones
    REGION                     one region, if each region is to have a key of its own      (all that wait)
    WRAPPING                   RSAES_OAEP_SHA_256 or RSAES_OAEP_SHA_1                       (RSAES_OAEP_SHA_256)
    ENDPOINT, PREFIX, ENTERPRISE   what your information packet says, if it is not filled in below

The key is never written to disk unprotected and never stands in an argument. The backup is what `openssl enc` writes:
    openssl enc -d -aes-256-cbc -pbkdf2 -iter 600000 -md sha256 -in BACKUP        gives the 32 bytes back
"""

import base64
import getpass
import json
import os
import secrets
import sys
import time

import requests
from cryptography.hazmat.primitives import hashes, padding as block_padding
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC
from cryptography.hazmat.primitives.serialization import load_pem_public_key

ENDPOINTS = {"test": "@TEST_ENDPOINT@", "production": "@PRODUCTION_ENDPOINT@"}
DIGESTS = {"RSAES_OAEP_SHA_256": hashes.SHA256, "RSAES_OAEP_SHA_1": hashes.SHA1}


class Failure(Exception):
    """What the person at the terminal is told."""


class Refused(Exception):
    """An answer that is not a success."""

    def __init__(self, status, answer):
        super().__init__(status)
        self.answer = answer
        self.code = answer.get("code", status)
        self.detail = answer.get("detail", "the answer cannot be understood")


def say(text):
    print(text, file=sys.stderr)


def read_text(path):
    with open(path, encoding="utf-8") as file:
        return file.read().rstrip("\r\n")


class Settings:
    def __init__(self, arguments, env):
        environment = arguments[1] if len(arguments) > 1 else "test"
        if environment not in ENDPOINTS:
            raise Failure("usage: python3 import-key.py [test|production]")
        endpoint = env.get("ENDPOINT", ENDPOINTS[environment])
        prefix = env.get("PREFIX", "@PREFIX@")
        enterprise = env.get("ENTERPRISE", "@ENTERPRISE@")
        if any(value.startswith("@") for value in (endpoint, prefix, enterprise)):
            raise Failure("set ENDPOINT, PREFIX and ENTERPRISE as your information packet says")
        self.api_key = env.get("API_KEY") or ("API_KEY_FILE" in env and read_text(env["API_KEY_FILE"]).strip())
        if not self.api_key:
            raise Failure(f"set API_KEY_FILE to a file that holds your API key for the {environment} environment")
        self.base = f"{endpoint}{prefix}/enterprises/{enterprise}/cmk"
        self.backup = env.get("BACKUP", f"{enterprise}-{environment}.key.enc")
        self.receipts = env.get("RECEIPTS", f"{enterprise}-{environment}.receipts.jsonl")
        self.key_file = env.get("KEY_FILE")
        self.region = env.get("REGION")
        self.wrapping = env.get("WRAPPING", "RSAES_OAEP_SHA_256")
        self.passphrase = self.ask_passphrase(env)

    def ask_passphrase(self, env):
        if "BACKUP_PASSPHRASE_FILE" in env:
            passphrase = read_text(env["BACKUP_PASSPHRASE_FILE"])
        elif sys.stdin.isatty():
            passphrase = getpass.getpass(f"Passphrase of the backup {self.backup}: ")
            if not os.path.exists(self.backup) and getpass.getpass("Once more: ") != passphrase:
                raise Failure("the two differ")
        else:
            raise Failure(f"set BACKUP_PASSPHRASE_FILE: there is no terminal to ask for the passphrase of {self.backup}")
        if not passphrase:
            raise Failure("the backup's passphrase is empty")
        return passphrase.encode()


def cipher(passphrase, salt):
    derived = PBKDF2HMAC(algorithm=hashes.SHA256(), length=48, salt=salt, iterations=600_000).derive(passphrase)
    return Cipher(algorithms.AES(derived[:32]), modes.CBC(derived[32:]))


def seal(key, passphrase):
    salt = secrets.token_bytes(8)
    padder = block_padding.PKCS7(128).padder()
    encryptor = cipher(passphrase, salt).encryptor()
    padded = padder.update(bytes(key)) + padder.finalize()
    return b"Salted__" + salt + encryptor.update(padded) + encryptor.finalize()


def unseal(sealed, passphrase):
    decryptor = cipher(passphrase, sealed[8:16]).decryptor()
    unpadder = block_padding.PKCS7(128).unpadder()
    padded = decryptor.update(sealed[16:]) + decryptor.finalize()
    return bytearray(unpadder.update(padded) + unpadder.finalize())


def key_with_backup(settings):
    """Steps 1 and 2: the key, and its backup. It gets its name only when it is complete."""
    backup = settings.backup
    if not os.path.exists(backup):
        if settings.key_file:
            with open(settings.key_file, "rb") as file:
                fresh = bytearray(file.read())
        else:
            fresh = bytearray(secrets.token_bytes(32))
        if len(fresh) != 32:
            raise Failure(f"{settings.key_file} does not hold exactly 32 bytes")
        descriptor = os.open(f"{backup}.part", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(seal(fresh, settings.passphrase))
        os.replace(f"{backup}.part", backup)
        fresh[:] = bytes(32)
        say(f"made the backup {backup}: store a copy of it, and its passphrase, where you will find them in years")
    elif settings.key_file:
        raise Failure(
            f"{backup} exists already: name another BACKUP for the key in {settings.key_file}, "
            "or leave KEY_FILE out to use the backup"
        )
    try:
        with open(backup, "rb") as file:
            key = unseal(file.read(), settings.passphrase)
    except ValueError:
        key = bytearray()
    if len(key) != 32:
        raise Failure(f"the backup {backup} does not open with this passphrase")
    return key


def call(settings, method, path, query=None, body=None):
    attempt = 1
    while True:
        status, answer, wait = 0, {}, attempt
        try:
            response = requests.request(
                method,
                f"{settings.base}/{path}",
                params=query,
                json=body,
                headers={"Authorization": f"ApiKey {settings.api_key}"},
                timeout=60,
            )
            status = response.status_code
            said = response.headers.get("Retry-After", "")
            wait = int(said) if said.isdigit() else attempt
            try:
                answer = response.json()
            except ValueError:
                answer = {}
            if response.ok:
                return answer
        except requests.RequestException as error:
            answer = {"code": "no-answer", "detail": str(error)}
        if attempt == 6 or status not in (0, 429, 503):
            raise Refused(status, answer)
        say(f"no success yet ({status or 'no answer'}): trying again in {wait} s")
        time.sleep(wait)
        attempt += 1


def wrap(target, key):
    """Step 4: the key, wrapped under a region's public key."""
    digest = DIGESTS.get(target["algorithm"])
    if digest is None:
        raise Failure(
            f"the wrapping algorithm of {target['region']} is not one that this script knows: "
            "get a newer information packet"
        )
    public = load_pem_public_key(target["publicKey"].encode())
    oaep = padding.OAEP(mgf=padding.MGF1(algorithm=digest()), algorithm=digest(), label=None)
    material = base64.b64encode(public.encrypt(bytes(key), oaep)).decode()
    return {"region": target["region"], "importToken": target["importToken"], "keyMaterial": material}


def keep_receipts(settings, answer):
    """Receipts: keep them, the KeyMaterialId proves in a later re-import that the bytes are the same."""
    names = ("region", "instance", "id", "keyId", "keyMaterialId", "status")
    with open(settings.receipts, "a", encoding="utf-8") as file:
        for result in answer.get("results") or [answer]:
            if result.get("keyMaterialId"):
                line = json.dumps({name: result.get(name) for name in names})
                print(line)
                file.write(line + "\n")


def import_round(settings, key):
    """Steps 3 to 5 for all regions that the server opens at once. Returns the regions that still wait."""
    query = {"wrappingAlgorithm": settings.wrapping}
    if settings.region:
        query["region"] = settings.region
    try:
        targets = call(settings, "PUT", "import-key-request", query=query)["targets"]
    except Refused as refused:
        if refused.code == "import-complete":
            return None
        raise Failure(f"the import request was refused ({refused.code}): {refused.detail}") from refused
    wanted = [target for target in targets if settings.region in (None, target["region"])]
    if not wanted:
        raise Failure("no region of that name waits for a key")
    try:
        answer = call(settings, "POST", "import-key", body={"targets": [wrap(target, key) for target in wanted]})
    except Refused as refused:
        if refused.answer.get("results"):
            keep_receipts(settings, refused.answer)
        raise Failure(
            f"the upload was refused ({refused.code}): {refused.detail} "
            "Run this again to go on: the backup keeps the key."
        ) from refused
    keep_receipts(settings, answer)
    return answer.get("remaining") or []


def run(settings, key):
    for number in range(1, 11):
        remaining = import_round(settings, key)
        if remaining is None:
            say("nothing waits for a key: every region has it already")
            return
        if not remaining:
            say(f"all regions have their key; receipts are in {settings.receipts}")
            return
        if settings.region:
            say(f"{settings.region} has its key; still waiting for one: {', '.join(remaining)}")
            return
        say(f"round {number} is through; still waiting for a key: {', '.join(remaining)}")
    raise Failure("after ten rounds regions still wait for a key: run this again to go on")


def main():
    try:
        settings = Settings(sys.argv, os.environ)
        key = key_with_backup(settings)
        try:
            run(settings, key)
        finally:
            # Step 6: what is left of the key in this process.
            key[:] = bytes(len(key))
    except (Failure, OSError) as failure:
        say(f"import-key: {failure}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
