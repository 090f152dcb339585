#!/usr/bin/env bash
# Imports an encryption key into @VENDOR@: makes or reads 32 bytes, keeps a protected backup, wraps them for every region
# that waits for a key, uploads them in one round, prints receipts. Run it again after a failure: it goes on with the same
# key where it stopped.
#
#   API_KEY_FILE=api-key.txt ./import-key.sh test
#   API_KEY_FILE=api-key.txt ./import-key.sh production
#
# Needs bash, OpenSSL 1.1.1 or newer, curl and jq, on Linux or macOS. Settings, all from the environment:
#
#   API_KEY or API_KEY_FILE    the API key of that environment, or a file that holds it
#   BACKUP                     the protected backup of the key; made if it is missing      (ENTERPRISE-ENVIRONMENT.key.enc)
#   BACKUP_PASSPHRASE_FILE     a file that holds the backup's passphrase; asked for if it is not given
#   KEY_FILE                   32 bytes of your own key management to use for a new backup, instead of new random ones
#   REGION                     one region, if each region is to have a key of its own      (all that wait)
#   WRAPPING                   RSAES_OAEP_SHA_256 or RSAES_OAEP_SHA_1                       (RSAES_OAEP_SHA_256)
#   ENDPOINT, PREFIX, ENTERPRISE   what your information packet says, if it is not filled in below
#
# The key is never written to disk unprotected and never stands in an argument. The backup is what `openssl enc` writes:
#   openssl enc -d -aes-256-cbc -pbkdf2 -iter 600000 -md sha256 -in BACKUP        gives the 32 bytes back
set -euo pipefail
umask 077

environment=${1:-test}
case $environment in
    test) endpoint='@TEST_ENDPOINT@' ;;
    production) endpoint='@PRODUCTION_ENDPOINT@' ;;
    *) echo "usage: $0 [test|production]" >&2; exit 2 ;;
esac
endpoint=${ENDPOINT:-$endpoint}
prefix=${PREFIX:-'@PREFIX@'}
enterprise=${ENTERPRISE:-'@ENTERPRISE@'}
wrapping=${WRAPPING:-RSAES_OAEP_SHA_256}
backup=${BACKUP:-$enterprise-$environment.key.enc}

say() { printf '%s\n' "$*" >&2; }
fail() { say "import-key: $*"; exit 1; }

for value in "$endpoint" "$prefix" "$enterprise"; do
    case $value in @*) fail "set ENDPOINT, PREFIX and ENTERPRISE as your information packet says" ;; esac
done
for tool in openssl curl jq; do
    command -v "$tool" >/dev/null || fail "$tool is missing"
done
printf x | openssl enc -aes-256-cbc -pbkdf2 -iter 1 -md sha256 -pass pass:x >/dev/null 2>&1 ||
    fail "this openssl ($(openssl version)) has no -pbkdf2: install OpenSSL 1.1.1 or newer"

api_key=${API_KEY:-}
if [ -z "$api_key" ] && [ -n "${API_KEY_FILE:-}" ]; then api_key=$(cat "$API_KEY_FILE"); fi
[ -n "$api_key" ] || fail "set API_KEY_FILE to a file that holds your API key for the $environment environment"
unset API_KEY

if [ -n "${BACKUP_PASSPHRASE_FILE:-}" ]; then
    passphrase=$(cat "$BACKUP_PASSPHRASE_FILE")
else
    [ -t 0 ] || fail "set BACKUP_PASSPHRASE_FILE: there is no terminal to ask for the passphrase of $backup"
    read -rsp "Passphrase of the backup $backup: " passphrase && say ""
    if [ ! -e "$backup" ]; then
        read -rsp "Once more: " again && say ""
        [ "$passphrase" = "$again" ] || fail "the two differ"
    fi
fi
[ -n "$passphrase" ] || fail "the backup's passphrase is empty"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

seal() { PASSPHRASE=$passphrase openssl enc -aes-256-cbc -pbkdf2 -iter 600000 -md sha256 -salt -pass env:PASSPHRASE; }
unseal() { PASSPHRASE=$passphrase openssl enc -d -aes-256-cbc -pbkdf2 -iter 600000 -md sha256 -pass env:PASSPHRASE -in "$backup"; }

# Steps 1 and 2: the key, and its backup. It gets its name only when it is complete.
if [ ! -e "$backup" ]; then
    if [ -n "${KEY_FILE:-}" ]; then
        [ "$(wc -c <"$KEY_FILE" | tr -d ' ')" = 32 ] || fail "$KEY_FILE does not hold exactly 32 bytes"
        seal <"$KEY_FILE" >"$backup.part"
    else
        openssl rand 32 | seal >"$backup.part"
    fi
    mv "$backup.part" "$backup"
    say "made the backup $backup: store a copy of it, and its passphrase, where you will find them in years"
elif [ -n "${KEY_FILE:-}" ]; then
    fail "$backup exists already: name another BACKUP for the key in $KEY_FILE, or leave KEY_FILE out to use the backup"
fi
# openssl writes what it could decrypt before it finds the passphrase wrong: its exit code counts too.
length=$(unseal 2>/dev/null | wc -c | tr -d ' ') || length=0
[ "$length" = 32 ] || fail "the backup $backup does not open with this passphrase"

# call METHOD PATH [BODY]: the answer in $work/answer. The API key goes through a file descriptor, never an argument.
call() {
    local status attempt wait
    local arguments=(-sS --max-time 60 -X "$1" -o "$work/answer" -D "$work/head" -w '%{http_code}')
    if [ $# -gt 2 ]; then
        arguments+=(-H 'Content-Type: application/json' --data-binary "@$3")
    else
        arguments+=(-d '')
    fi
    for attempt in 1 2 3 4 5 6; do
        : >"$work/answer"
        : >"$work/head"
        status=$(curl "${arguments[@]}" -H @<(printf 'Authorization: ApiKey %s\n' "$api_key") \
            "$endpoint$prefix/enterprises/$enterprise/cmk/$2") || status=000
        case $status in
            2??) return 0 ;;
            000 | 429 | 503) ;;
            *) break ;;
        esac
        [ "$attempt" = 6 ] && break
        wait=$(tr -d '\r' <"$work/head" | awk 'tolower($1) == "retry-after:" { print $2 }' | tail -n 1)
        case $wait in '' | *[!0-9]*) wait=$attempt ;; esac
        say "no success yet (HTTP $status): trying again in $wait s"
        sleep "$wait"
    done
    return 1
}
problem() { jq -r '.detail // empty' "$work/answer" 2>/dev/null || true; }
code() { jq -r '.code // empty' "$work/answer" 2>/dev/null || true; }

# Receipts: keep them, the KeyMaterialId proves in a later re-import that the bytes are the same.
receipts=${RECEIPTS:-$enterprise-$environment.receipts.jsonl}
keep_receipts() {
    jq -c '(.results // [.])[] | select(.keyMaterialId) | {region, instance, id, keyId, keyMaterialId, status}' \
        "$work/answer" | tee -a "$receipts"
}

query="wrappingAlgorithm=$wrapping"
[ -z "${REGION:-}" ] || query="$query&region=$REGION"
for round in 1 2 3 4 5 6 7 8 9 10; do
    # Step 3: an import request.
    if ! call PUT "import-key-request?$query"; then
        if [ "$(code)" = import-complete ]; then
            say "nothing waits for a key: every region has it already"
            exit 0
        fi
        fail "the import request was refused ($(code)): $(problem)"
    fi
    cp "$work/answer" "$work/request"

    # Step 4: the key, wrapped under each region's public key.
    : >"$work/wrapped"
    count=$(jq '.targets | length' "$work/request")
    for ((i = 0; i < count; i++)); do
        region=$(jq -r ".targets[$i].region" "$work/request")
        [ -z "${REGION:-}" ] || [ "$region" = "$REGION" ] || continue
        jq -r ".targets[$i].publicKey" "$work/request" >"$work/public.pem"
        case $(jq -r ".targets[$i].algorithm" "$work/request") in
            RSAES_OAEP_SHA_256) digest=sha256 ;;
            RSAES_OAEP_SHA_1) digest=sha1 ;;
            *) fail "the wrapping algorithm of $region is not one that this script knows: get a newer information packet" ;;
        esac
        unseal |
            openssl pkeyutl -encrypt -pubin -inkey "$work/public.pem" \
                -pkeyopt rsa_padding_mode:oaep -pkeyopt "rsa_oaep_md:$digest" -pkeyopt "rsa_mgf1_md:$digest" |
            base64 | tr -d '\n' >"$work/material"
        jq -c --rawfile material "$work/material" \
            ".targets[$i] | {region, importToken, keyMaterial: \$material}" "$work/request" >>"$work/wrapped"
    done
    [ -s "$work/wrapped" ] || fail "no region${REGION:+ of that name} waits for a key"
    jq -s '{targets: .}' "$work/wrapped" >"$work/body"

    # Step 5: the upload.
    if ! call POST import-key "$work/body"; then
        [ "$(jq 'has("results")' "$work/answer" 2>/dev/null)" != true ] || keep_receipts
        fail "the upload was refused ($(code)): $(problem) Run this again to go on: the backup keeps the key."
    fi
    keep_receipts
    remaining=$(jq -r '.remaining // [] | join(", ")' "$work/answer")
    if [ -z "$remaining" ]; then
        say "all regions have their key; receipts are in $receipts"
        exit 0
    fi
    if [ -n "${REGION:-}" ]; then
        say "$REGION has its key; still waiting for one: $remaining"
        exit 0
    fi
    say "round $round is through; still waiting for a key: $remaining"
done
fail "after ten rounds regions still wait for a key: run this again to go on"

# Step 6: the temporary folder goes with this process; the backup and the receipts stay.
