//! The upload doctor: every mistake that a customer can make, with a code that stays, what was wrong in words, and the
//! commands that put it right.
//!
//! No answer is an oracle on the plaintext: whatever keeps KMS from unwrapping a ciphertext comes out as
//! [`Refusal::material_refused`] alone. What the other answers about material tell apart is seen in the ciphertext itself, or, when
//! the same material is imported again, that what was unwrapped whole is not the same.

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value, json};

use super::{
    exposed::may_hold_a_key,
    session::Session,
    wrapping::{Algorithm, Spec},
};

/// The kinds of refusal, for status codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalKind {
    /// The request cannot be read.
    Malformed,
    /// It can be read, and does not hold.
    Invalid,
    /// It does not fit what has happened already.
    Conflict,
    TooLarge,
    WrongType,
    TooMany,
    /// Nothing wrong with the request: later it may succeed.
    Unavailable,
}

/// An answer that says what was wrong. It holds nothing of what was uploaded.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    pub kind: RefusalKind,
    /// Stable, in kebab-case; listed in `docs/errors.md`.
    pub code: &'static str,
    pub detail: String,
    /// Commands that put it right, in a shell with the variables of the key-import scripts.
    pub cure: Vec<String>,
    /// Seconds after which to come again.
    pub retry_after: Option<u64>,
    pub members: Box<Map<String, Value>>,
}

/// What a token was asked for, so that its cures ask for the same again.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    pub algorithm: Algorithm,
    pub spec: Spec,
    /// None: whichever comes first.
    pub region: Option<&'a str>,
    pub instance: Option<&'a str>,
}

impl<'a> Terms<'a> {
    pub fn of(session: &'a Session) -> Self {
        Self {
            algorithm: session.algorithm,
            spec: session.spec,
            region: Some(&session.target.region),
            instance: session.target.instance.as_deref(),
        }
    }

    /// Asks for a token on these terms, takes what comes with it, wraps and uploads.
    fn anew(self) -> String {
        let named = [("region", self.region), ("instance", self.instance)];
        let named: String = named.iter().filter_map(|(name, value)| Some(format!("{name}={}&", (*value)?))).collect();
        let query = format!("?{named}wrappingAlgorithm={}&wrappingKeySpec={}", self.algorithm.word(), self.spec.word());
        let ask = format!(
            "curl --fail -X PUT -d \"\" -H \"Authorization: ApiKey $apikey\" \"$url/import-key-request{query}\" > importreq.json"
        );
        [ask.as_str(), PUBLIC_KEY, TOKEN, &wrap_command(self.algorithm), UPLOAD].join("\n")
    }
}

/// The command that wraps under the public key of an import request.
pub fn wrap_command(algorithm: Algorithm) -> String {
    let hash = match algorithm {
        Algorithm::OaepSha1 => "sha1",
        Algorithm::OaepSha256 => "sha256",
    };
    wrap_with(hash)
}

/// OpenSSL's MGF1 takes the hash of the padding unless it is told otherwise.
fn wrap_with(hash: &str) -> String {
    format!(
        "openssl pkeyutl -encrypt -pubin -inkey publickey.pem -pkeyopt rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:{hash} \
         -in key.bin | base64 | tr -d '\\n' > wrapped.b64"
    )
}

/// Wraps with the hash that the import request was for, where the refusal does not know it.
fn wrap_as_asked() -> String {
    let hash =
        "hash=\"$(jq -r 'if .algorithm == \"RSAES_OAEP_SHA_256\" then \"sha256\" else \"sha1\" end' importreq.json)\"";
    [hash, &wrap_with("\"$hash\"")].join("\n")
}

impl Refusal {
    pub fn new(kind: RefusalKind, code: &'static str, detail: impl Into<String>) -> Self {
        Self { kind, code, detail: detail.into(), cure: Vec::new(), retry_after: None, members: Box::default() }
    }

    #[must_use]
    pub fn cured_by(mut self, command: impl Into<String>) -> Self {
        self.cure.push(command.into());
        self
    }

    #[must_use]
    pub fn with(mut self, member: &str, value: impl Into<Value>) -> Self {
        self.members.insert(member.to_owned(), value.into());
        self
    }

    #[must_use]
    pub fn after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds.max(1));
        self
    }

    pub fn body_missing() -> Self {
        let detail = "The body is empty; import-key takes a JSON object with importToken and keyMaterial.";
        Self::new(RefusalKind::Malformed, "body-missing", detail).cured_by(UPLOAD)
    }

    pub fn body_too_large(most: usize) -> Self {
        let detail = format!(
            "A body may have at most {most} bytes. A wrapped key has 512, which are 684 in base64; perhaps a file was \
             wrapped that is not the key alone."
        );
        Self::new(RefusalKind::TooLarge, "body-too-large", detail)
            .cured_by("wc -c key.bin   # has to be 32")
            .cured_by(wrap_as_asked())
            .cured_by(UPLOAD)
    }

    pub fn body_lost() -> Self {
        Self::new(RefusalKind::Malformed, "body-lost", "The body did not arrive whole: send it again.")
    }

    pub fn content_type_wrong() -> Self {
        let detail = "import-key takes JSON: send the body as Content-Type: application/json.";
        Self::new(RefusalKind::WrongType, "content-type-wrong", detail).cured_by(UPLOAD)
    }

    pub fn request_body_not_empty() -> Self {
        let detail = "import-key-request takes no body: what it can be told goes into the query, as \
                      ?region=REGION&wrappingAlgorithm=RSAES_OAEP_SHA_256&wrappingKeySpec=RSA_4096.";
        Self::new(RefusalKind::Malformed, "request-body-not-empty", detail).cured_by(anew())
    }

    pub fn json_cut_by_base64_lines() -> Self {
        let detail = "The JSON ends after 76 characters of base64: your base64 breaks its output into lines, and the shell \
                      took the lines for arguments of their own. The rest of the wrapped key was NOT sent here, but curl \
                      took it for addresses. The key was wrapped, so nothing is revealed; put it on one line.";
        Self::new(RefusalKind::Malformed, "json-cut-by-base64-lines", detail).cured_by(UPLOAD)
    }

    pub fn json_truncated() -> Self {
        let detail = "The JSON ends before its last brace. In a shell, quote what is put together of several parts.";
        Self::new(RefusalKind::Malformed, "json-truncated", detail).cured_by(UPLOAD)
    }

    pub fn json_malformed(line: usize, column: usize) -> Self {
        let detail = format!("The body is not JSON: line {line}, column {column} cannot be read.");
        Self::new(RefusalKind::Malformed, "json-malformed", detail).cured_by(UPLOAD)
    }

    pub fn body_shape_wrong() -> Self {
        let detail = "The body is JSON, but not {\"importToken\": TEXT, \"keyMaterial\": TEXT} and not {\"targets\": \
                      [{\"region\": TEXT, \"importToken\": TEXT, \"keyMaterial\": TEXT}, …]}, each member once.";
        Self::new(RefusalKind::Invalid, "body-shape-wrong", detail).cured_by(UPLOAD)
    }

    pub fn import_token_missing() -> Self {
        let detail = "importToken is missing or no text. It comes with the answer to import-key-request.";
        Self::new(RefusalKind::Invalid, "import-token-missing", detail).cured_by(TOKEN).cured_by(UPLOAD)
    }

    pub fn key_material_missing() -> Self {
        let detail = "keyMaterial is missing, empty or no text. It is the wrapped key in base64; in Node that is \
                      encrypted.toString('base64').";
        Self::new(RefusalKind::Invalid, "key-material-missing", detail).cured_by(UPLOAD)
    }

    pub fn key_material_not_base64() -> Self {
        let detail =
            "keyMaterial is not base64: it may hold A-Z, a-z, 0-9, + and /, = at its end, spaces and line breaks.";
        Self::new(RefusalKind::Invalid, "key-material-not-base64", detail).cured_by(wrap_as_asked()).cured_by(UPLOAD)
    }

    /// As long as a wrapped key.
    pub fn key_material_in_hex() -> Self {
        let detail = "keyMaterial is in hex, and as long as a wrapped key: the API takes base64.";
        Self::new(RefusalKind::Invalid, "key-material-not-base64", detail).cured_by(wrap_as_asked()).cured_by(UPLOAD)
    }

    pub fn key_material_not_wrapped() -> Self {
        let detail = "keyMaterial is not wrapped: it is readable, or as short as a key itself. It was dropped and is stored nowhere, \
                      but it has left your systems readable: do not use this key, generate a new one, and wrap that.";
        Self::new(RefusalKind::Invalid, "key-material-not-wrapped", detail).cured_by_a_new_key()
    }

    fn cured_by_a_new_key(self) -> Self {
        self.cured_by("openssl rand -out key.bin 32").cured_by(wrap_as_asked()).cured_by(UPLOAD)
    }

    /// Says so if the body that is refused may have held a key that was not wrapped.
    #[must_use]
    pub fn judging(self, body: &[u8]) -> Self {
        if may_hold_a_key(body) { self.exposing() } else { self }
    }

    /// What was sent could not be taken, and may have held a key that was not wrapped.
    #[must_use]
    pub fn exposing(mut self) -> Self {
        self.detail.push_str(
            " What was sent was dropped and is stored nowhere. If it held the key itself, not wrapped, the key has left your systems \
             readable: do not use this key, generate a new one, and wrap that.",
        );
        self.cure = vec!["openssl rand -out key.bin 32".to_owned(), anew()];
        self
    }

    pub fn body_not_utf8(encoding: &str) -> Self {
        let detail = format!(
            "The body is {encoding}, and JSON is sent as UTF-8 without a byte order mark. In PowerShell, write it with \
             [IO.File]::WriteAllText, not with `>`."
        );
        Self::new(RefusalKind::Malformed, "body-not-utf8", detail).cured_by(UPLOAD)
    }

    /// `found` bytes where the wrapping key makes `wanted`.
    pub fn key_material_wrong_length(found: usize, terms: Terms<'_>) -> Self {
        let wanted = terms.spec.bytes();
        let why = match found.checked_sub(wanted) {
            // AES-KWP makes of a key its length and eight bytes more, in blocks of eight.
            Some(more @ 24..=72) if more % 8 == 0 => {
                "It looks like RSA_AES_KEY_WRAP, which HSMs export: an AES key under RSA and the key under that. This API takes the \
                 key under RSA-OAEP alone: export it with RSA-OAEP (CKM_RSA_PKCS_OAEP)."
            }
            _ => {
                "Either it was wrapped under another key, or it is not the wrapped key alone, or it was encoded twice."
            }
        };
        let detail = format!(
            "keyMaterial has {found} bytes, but what is wrapped under this public key ({}) has {wanted}. {why}",
            terms.spec.word()
        );
        Self::new(RefusalKind::Invalid, "key-material-wrong-length", detail)
            .cured_by(format!("base64 -d < wrapped.b64 | wc -c   # has to be {wanted}"))
            .cured_by(wrap_command(terms.algorithm))
            .cured_by(UPLOAD)
    }

    /// The one answer to everything that KMS finds wrong with a ciphertext.
    pub fn material_refused(terms: Terms<'_>) -> Self {
        let (asked, other) = match terms.algorithm {
            Algorithm::OaepSha1 => ("SHA-1", "SHA-256"),
            Algorithm::OaepSha256 => ("SHA-256", "SHA-1"),
        };
        let detail = format!(
            "KMS could not import the material. This token was asked for RSA-OAEP with {asked}, for the hash and for MGF1. Either the \
             key was wrapped with {other}; or with PKCS#1 v1.5, which PHP's openssl_public_encrypt, Ruby's public_encrypt and \
             Java's \"RSA\" do unless they are told otherwise; or with Java's \"OAEPWithSHA-256AndMGF1Padding\", whose MGF1 uses \
             SHA-1 unless an OAEPParameterSpec says SHA-256; or under a public key that came with another token; or it is not 32 \
             bytes. Nothing was imported and the token stays good; after five such uploads it is locked."
        );
        let otherwise = Terms { algorithm: terms.algorithm.other(), ..terms };
        Self::new(RefusalKind::Invalid, "key-material-refused", detail)
            .cured_by("wc -c key.bin   # has to be 32")
            .cured_by(format!(
                "# to wrap with {asked}, as this token was asked for:\n{}\n{UPLOAD}",
                wrap_command(terms.algorithm)
            ))
            .cured_by(format!("# or ask for a token for {other} and wrap with that:\n{}", otherwise.anew()))
    }

    /// What was unwrapped is not what the key held before.
    pub fn key_material_differs(terms: Terms<'_>) -> Self {
        let region = terms.region.unwrap_or_default();
        let detail = format!(
            "The key of {region} takes only the material that was imported into it at first, and this is not the same: the key \
             of another region or instance, a newer or older one, or not 32 bytes. Nothing was imported and nothing in AWS was \
             changed; the token stays good, after five such uploads it is locked. Look for the backup of the key that was \
             imported first."
        );
        Self::new(RefusalKind::Invalid, "key-material-differs", detail)
            .with("region", region)
            .cured_by("wc -c key.bin   # has to be 32")
            .cured_by("sha256sum key.bin   # compare with what you noted when the key was made")
            .cured_by(format!(
                "# with the key that was imported first in key.bin:\n{}\n{UPLOAD}",
                wrap_command(terms.algorithm)
            ))
    }

    pub fn token_unknown() -> Self {
        let detail = "This import token is not known here. Take it as it stands in the answer to import-key-request.";
        Self::new(RefusalKind::Invalid, "import-token-unknown", detail).cured_by(TOKEN).cured_by(UPLOAD)
    }

    /// `of`: `production` or `test`, the environment that the token is of.
    pub fn token_of_other_environment(of: &str, terms: Option<Terms<'_>>) -> Self {
        let code = if of == "test" { "import-token-of-test" } else { "import-token-of-production" };
        let detail = format!(
            "This import token is of the {of} environment. Nothing was imported; ask the endpoint to which you upload for a \
             token of its own, and wrap under the public key that comes with it."
        );
        Self::new(RefusalKind::Conflict, code, detail).cured_by(terms.map_or_else(anew, Terms::anew))
    }

    pub fn token_of_another_region(token: &str, named: &str, terms: Terms<'_>) -> Self {
        let detail = format!(
            "The upload is for {named}, but the import token is for {token}. Nothing was imported. Each region has a public \
             key and a token of its own."
        );
        Self::new(RefusalKind::Conflict, "import-token-of-another-region", detail)
            .cured_by(format!(
                "# to import into {token}, as this token is for, without naming another region:\n{UPLOAD}"
            ))
            .cured_by(format!("# or to import into {named}:\n{}", Terms { region: Some(named), ..terms }.anew()))
    }

    pub fn token_expired(valid_to: DateTime<Utc>, terms: Terms<'_>) -> Self {
        let detail = format!(
            "This import token was valid to {}. Nothing was imported; ask for a new one and wrap the same key again under its \
             public key.",
            valid_to.to_rfc3339_opts(SecondsFormat::Secs, true)
        );
        Self::new(RefusalKind::Conflict, "import-token-expired", detail).cured_by(terms.anew())
    }

    pub fn token_locked(terms: Terms<'_>) -> Self {
        let detail = "This import token is locked after five uploads that KMS could not import. Ask for a new one and wrap the \
                      same key again under its public key.";
        Self::new(RefusalKind::Conflict, "import-token-locked", detail).cured_by(terms.anew())
    }

    /// KMS takes the token no longer, though its time is not over.
    pub fn token_superseded(terms: Terms<'_>) -> Self {
        let detail = "KMS does not take this import token any more. Ask for a new one and wrap the same key again under its \
                      public key.";
        Self::new(RefusalKind::Conflict, "import-token-superseded", detail).cured_by(terms.anew())
    }

    /// `same`: the very upload that was imported came again.
    pub fn token_used(region: &str, same: bool) -> Self {
        let detail = if same {
            format!(
                "This upload was imported into {region} before, under the id and keyMaterialId given here. It was not \
                     imported again, and nothing is left to do for this token."
            )
        } else {
            format!(
                "This import token was used: another upload with it was imported into {region}, under the id and \
                     keyMaterialId given here. This upload was not imported."
            )
        };
        Self::new(RefusalKind::Conflict, "import-token-used", detail).with("sameUpload", same)
    }

    pub fn region_has_material(region: &str) -> Self {
        let detail = format!(
            "The key of {region} has its material already, by another import token. This upload was not imported; \
             import-key-request says which regions remain."
        );
        Self::new(RefusalKind::Conflict, "region-has-material", detail).with("region", region)
    }

    pub fn import_in_progress(seconds: u64) -> Self {
        let detail =
            "Another upload with this token is on its way to KMS. The first one counts; ask again for its outcome.";
        Self::new(RefusalKind::Conflict, "import-in-progress", detail).after(seconds)
    }

    pub fn region_not_in_plan(asked: &str, regions: &[String]) -> Self {
        let detail = format!("{asked} is none of the regions that need a key. The regions are {}.", regions.join(", "));
        Self::new(RefusalKind::Invalid, "region-not-in-plan", detail).with("regions", json!(regions))
    }

    pub fn wrapping_unknown(parameter: &str, known: &[&str]) -> Self {
        let detail = format!("{parameter}: the values are {}.", known.join(", "));
        Self::new(RefusalKind::Malformed, "wrapping-unknown", detail)
    }

    pub fn import_complete() -> Self {
        let detail = "Every region has its key material: nothing is left to import.";
        Self::new(RefusalKind::Conflict, "import-complete", detail).with("remaining", json!([]))
    }

    /// What the onboarding waits for instead is in `state`.
    pub fn import_not_open(state: impl Into<String>) -> Self {
        let state = state.into();
        let detail = format!("No key can be imported now: {state}.");
        Self::new(RefusalKind::Conflict, "import-not-open", detail)
    }

    pub fn too_many_requests(seconds: u64) -> Self {
        let detail = format!(
            "KMS gives one public key every 4 seconds in a region, and others are before you. Come again in {seconds} seconds."
        );
        Self::new(RefusalKind::TooMany, "too-many-import-requests", detail).after(seconds)
    }

    /// Many customers try their test environments at the same moment.
    pub fn keys_are_being_made(seconds: u64) -> Self {
        let detail = format!(
            "The test environment is making wrapping keys for others, and yours was not made yet. Come again in {seconds} seconds."
        );
        Self::new(RefusalKind::TooMany, "too-many-import-requests", detail).after(seconds)
    }

    pub fn kms_unavailable() -> Self {
        let detail =
            "KMS does not answer now. Send the same request again later; what was imported is not imported twice.";
        Self::new(RefusalKind::Unavailable, "kms-unavailable", detail).after(5)
    }

    /// The keys of the test environment are in another cloud than this server's.
    pub fn test_environment_elsewhere() -> Self {
        let detail = "The test import that is open was begun on another of the vendor's servers, whose test environment is its own. \
                      Nothing was imported, and production is not touched. Send the request again; if this answer comes back, tell \
                      the vendor that all servers need one test environment (serve --test-sandbox-url).";
        Self::new(RefusalKind::Unavailable, "test-environment-elsewhere", detail).after(1)
    }

    /// Something of the vendor's is wrong: the cause is in the log.
    pub fn not_possible_now() -> Self {
        let detail =
            "The vendor's key cannot take material now. Your onboarding engineer can see why; nothing was imported.";
        Self::new(RefusalKind::Unavailable, "import-not-possible-now", detail).after(60)
    }
}

const UPLOAD: &str = "curl --fail -H \"Authorization: ApiKey $apikey\" -H \"Content-Type: application/json\" \"$url/import-key\" \
                      -d \"{\\\"importToken\\\":\\\"$importtoken\\\",\\\"keyMaterial\\\":\\\"$(tr -d '\\n' < wrapped.b64)\\\"}\"";
const PUBLIC_KEY: &str = "jq -r .publicKey importreq.json > publickey.pem";
const TOKEN: &str = "importtoken=\"$(jq -r .importToken importreq.json)\"";
const REQUEST: &str =
    "curl --fail -X PUT -d \"\" -H \"Authorization: ApiKey $apikey\" \"$url/import-key-request\" > importreq.json";

/// Asks for a token on the terms that the last one was asked for by default, and uses it.
fn anew() -> String {
    [REQUEST, PUBLIC_KEY, TOKEN, &wrap_as_asked(), UPLOAD].join("\n")
}
