//! Every cure that a refusal of key import prints, run as it is printed in the customer's shell, until a key is imported.

use std::{path::Path, process::Command};

use serde_json::Value;

use crate::support::{
    required,
    serving::{Serving, serve},
};

/// What the customer's shell has before a mistake: a key, and a token of this algorithm and size for it.
const BEFORE: &str = r#"
ask() { curl --fail -sS -X PUT -d "" -H "Authorization: ApiKey $apikey" "$url/import-key-request$1" > importreq.json; }
wrap() { openssl pkeyutl -encrypt -pubin -inkey publickey.pem -pkeyopt rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:"$1" -in key.bin | base64 | tr -d '\n'; }
send() { curl -sS -H "Authorization: ApiKey $apikey" -H "Content-Type: ${2:-application/json}" --data-binary "$1" "$url/import-key"; }
body() { printf '{"importToken":"%s","keyMaterial":"%s"}' "$importtoken" "$1"; }
openssl rand -out key.bin 32
ask "?region=us-west-2&wrappingAlgorithm=$algorithm&wrappingKeySpec=$spec"
jq -r .publicKey importreq.json > publickey.pem
importtoken="$(jq -r .importToken importreq.json)"
wrap "$hash" > wrapped.b64
"#;

/// Mistakes as customers make them, and the code of the answer.
const MISTAKES: [(&str, &str); 25] = [
    ("body-missing", "send ''"),
    ("content-type-wrong", r#"send "$(body "$(cat wrapped.b64)")" text/plain"#),
    ("content-type-wrong", "send @key.bin application/octet-stream"),
    ("json-truncated", r#"send "$(body "$(cat wrapped.b64)" | head -c 60)""#),
    (
        "json-cut-by-base64-lines",
        r#"send "{\"importToken\":\"$importtoken\",\"keyMaterial\":\"$(head -c 76 wrapped.b64)""#,
    ),
    ("json-malformed", r#"send "importToken=$importtoken&keyMaterial=$(cat wrapped.b64)""#),
    ("body-not-utf8", r#"body "$(cat wrapped.b64)" | iconv -t UTF-16 > body.json; send @body.json"#),
    ("body-shape-wrong", "send '[]'"),
    ("body-too-large", "head -c 20000 /dev/zero | base64 > large.b64; send @large.b64"),
    ("import-token-missing", r#"importtoken=; send "$(body "$(cat wrapped.b64)")""#),
    ("import-token-unknown", r#"importtoken=kfi_test_nonsense; send "$(body "$(cat wrapped.b64)")""#),
    ("key-material-missing", r#"send "$(body '')""#),
    ("key-material-not-base64", r#"send "$(body "$(tr A % < wrapped.b64)%")""#),
    ("key-material-not-base64", r#"send "$(body "$(base64 -d < wrapped.b64 | od -An -v -tx1 | tr -d ' \n')")""#),
    ("key-material-not-wrapped", r#"send "$(body "$(base64 < key.bin)")""#),
    ("key-material-not-wrapped", r#"send "$(body "$(od -An -v -tx1 key.bin | tr -d '\n')")""#),
    ("key-material-wrong-length", r#"send "$(body "$(base64 < wrapped.b64 | tr -d '\n')")""#),
    ("key-material-refused", r#"send "$(body "$(wrap "$otherhash")")""#),
    (
        "key-material-refused",
        r#"head -c 20 key.bin > short.bin; mv short.bin key.bin; wrapped=$(wrap "$hash"); openssl rand -out key.bin 32; send "$(body "$wrapped")""#,
    ),
    (
        "import-token-locked",
        r#"for _ in 1 2 3 4 5; do send "$(body "$(wrap "$otherhash")")" > /dev/null; done; send "$(body "$(cat wrapped.b64)")""#,
    ),
    ("import-token-of-another-region", r#"send "{\"region\":\"us-east-1\",$(body "$(cat wrapped.b64)" | tail -c +2)""#),
    ("import-token-of-test", r#"url=$other; apikey=$otherkey; send "$(body "$(cat wrapped.b64)")""#),
    (
        "import-token-of-test",
        r#"jq 'del(.algorithm)' importreq.json > without; mv without importreq.json; url=$other; apikey=$otherkey; send "$(body "$(cat wrapped.b64)")""#,
    ),
    (
        "request-body-not-empty",
        r#"curl -sS -X PUT -d @key.bin -H "Authorization: ApiKey $apikey" "$url/import-key-request""#,
    ),
    (
        "request-body-not-empty",
        r#"curl -sS -X PUT -d 'region=us-west-2' -H "Authorization: ApiKey $apikey" "$url/import-key-request""#,
    ),
];

/// A customer who is there in both environments.
struct Customer {
    test: (String, String),
    production: (String, String),
}

async fn customer(server: &Serving, name: &str) -> Customer {
    server.waiting(name).await;
    let cmk = format!("/!/ems/enterprises/{name}/cmk");
    Customer {
        test: (format!("{}/test{cmk}", server.customer), server.api_key(name, "test").await),
        production: (format!("{}{cmk}", server.customer), server.api_key(name, "production").await),
    }
}

fn run(folder: &Path, customer: &Customer, (algorithm, spec): (&str, &str), script: &str) -> (bool, String, String) {
    let (hash, other) = if algorithm.ends_with("256") { ("sha256", "sha1") } else { ("sha1", "sha256") };
    let ran = Command::new("bash")
        .args(["-euo", "pipefail", "-c", script])
        .current_dir(folder)
        .env("NO_PROXY", "127.0.0.1")
        .envs([("url", &customer.test.0), ("apikey", &customer.test.1)])
        .envs([("other", &customer.production.0), ("otherkey", &customer.production.1)])
        .envs([("algorithm", algorithm), ("spec", spec), ("hash", hash), ("otherhash", other)])
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (ran.status.success(), text(&ran.stdout), text(&ran.stderr))
}

/// Cures that begin with `# or` are another way to the same end.
fn ways(problem: &Value) -> Vec<Vec<&str>> {
    let mut ways = vec![Vec::new()];
    for cure in problem["cure"].as_array().unwrap().iter().map(|cure| cure.as_str().unwrap()) {
        if cure.starts_with("# or ") {
            ways.push(Vec::new());
        }
        ways.last_mut().unwrap().push(cure);
    }
    ways
}

/// The mistake, and then one way of its cures in one shell, each cure as it was printed; how many ways there are.
fn cured(customer: &Customer, asked: (&str, &str), (code, mistake): (&str, &str), way: usize) -> usize {
    let folder = tempfile::tempdir().unwrap();
    let kept = r#"printf 'url=%q apikey=%q importtoken=%q' "$url" "$apikey" "$importtoken" > shell.env"#;
    let made = format!("{BEFORE}\n{mistake} > problem.json\n{kept}");
    let (done, _, said) = run(folder.path(), customer, asked, &made);
    let text = std::fs::read_to_string(folder.path().join("problem.json")).unwrap_or_default();
    assert!(done, "{mistake}: {said}");
    let problem: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{mistake}: {text}"));
    assert_eq!(problem["code"], code, "{mistake}: {problem:#}");
    let ways = ways(&problem);
    // The variables as the mistake left them, and nothing of what the test knows.
    let script = format!(". ./shell.env\n{}", ways[way].join("\n"));
    let (done, answers, said) = run(folder.path(), customer, ("", ""), &script);
    let tried = format!("{mistake} with {asked:?}:\n{script}\n{answers}\n{said}");
    assert!(done, "{tried}");
    let last = answers.rfind('{').map(|_| answers[answers.find('{').unwrap()..].trim());
    let last: Value = last.and_then(|last| serde_json::from_str(last).ok()).unwrap_or_default();
    assert_eq!(last["status"], "imported", "{tried}");
    ways.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_cure_of_a_refusal_leads_to_an_import_as_it_is_printed() {
    if required("KEYFERRY_TEST_JQ", "jq").is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let server = serve(folder.path(), None, &["--speed", "60"]);
    let asked = [("RSAES_OAEP_SHA_256", "RSA_2048"), ("RSAES_OAEP_SHA_1", "RSA_3072")];
    for (number, mistake) in MISTAKES.into_iter().enumerate() {
        let (mut way, mut ways) = (0, 1);
        while way < ways {
            let customer = customer(&server, &format!("customer-{number}-{way}")).await;
            let asked = asked[number % 2];
            ways = tokio::task::spawn_blocking(move || cured(&customer, asked, mistake, way)).await.unwrap();
            way += 1;
        }
    }
}
