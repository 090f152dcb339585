//! A key that is lost and comes back, as shipped: material is deleted in KMS, the customer is asked, and their own client gives
//! the same bytes from its backup, through a socket. Nothing else is taken.

use std::{collections::BTreeMap, fs, sync::Arc, time::Duration};

use aws_sdk_kms::{Client as Kms, primitives::Blob};
use keyferry::{
    aws::Aws,
    config::Config,
    worker::{Clock as _, SystemClock},
};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::block_in_place;

use super::client::{Client, Customer, is_there, keeping, places};
use crate::support::{
    import::WEST,
    required,
    serving::{Serving, serve_at, serve_before, serve_with},
};

/// A minute between two looks at the keys is a second at the sandbox's speed.
const LOOKS: (&str, &str) = ("KEYFERRY_AWS__CUSTODY_CHECK_S", "60");
const KEPT: &[u8] = b"what the vendor keeps for its customer";

/// An enterprise that was onboarded with a client, and what was encrypted under its key since.
struct Kept {
    name: String,
    customer: Arc<Customer>,
    kms: Kms,
    key: String,
    /// `KeyMaterialId`, as the first receipt had it.
    material: String,
    ciphertext: Blob,
}

impl Kept {
    /// `None` where the client's tools are missing outside of CI.
    async fn onboarded(server: &Serving, aws: &Aws, client: Client) -> Option<Self> {
        client.tools()?;
        let name = client.name();
        let run = server.waiting(&name).await;
        let made = server.command(&["api-key", "create", &name, "--environment", "production"]);
        let customer = Arc::new(Customer::new(client, &name, &server.customer, made["key"].as_str().unwrap())?);
        let imported = block_in_place(|| places(&customer.import("backup.enc")));
        assert!(is_there(&customer.path("backup.enc")), "{name} keeps no backup");
        server.until(&run, |forms| !forms.contains(&"key-import".to_owned())).await;
        let (region, key, material) = imported[0].clone();
        assert_eq!(region, WEST);
        let kms = aws.kms(WEST).await.unwrap();
        let call = kms.encrypt().key_id(&key).plaintext(Blob::new(KEPT));
        let ciphertext = call.send().await.unwrap().ciphertext_blob.unwrap();
        let kept = Self { name, customer, kms, key, material, ciphertext };
        assert!(kept.decrypts().await, "{}", kept.name);
        Some(kept)
    }

    async fn decrypts(&self) -> bool {
        let call = self.kms.decrypt().key_id(&self.key).ciphertext_blob(self.ciphertext.clone());
        call.send().await.is_ok_and(|done| done.plaintext.is_some_and(|plain| plain.as_ref() == KEPT))
    }

    async fn lose(&self) {
        self.kms.delete_imported_key_material().key_id(&self.key).send().await.unwrap();
        assert!(!self.decrypts().await, "{}: it decrypts without its key", self.name);
    }

    /// Other bytes, which KMS unwraps and finds to be others.
    fn offers_other_bytes(&self) {
        let other = block_in_place(|| self.customer.run("other.enc"));
        let said = String::from_utf8_lossy(&other.stderr);
        assert_eq!(other.status.code(), Some(1), "{}: other bytes were taken", self.name);
        assert!(said.contains("key-material-differs") || said.contains("takes only the material"), "{said}");
    }

    /// The same bytes, from the backup.
    fn gives_back(&self) {
        let again = block_in_place(|| places(&self.customer.import("backup.enc")));
        let first = again.iter().find(|(region, ..)| region == WEST).unwrap();
        assert_eq!(*first, (WEST.to_owned(), self.key.clone(), self.material.clone()), "{}", self.name);
    }

    /// What a run wrote down of this key: that the customer has it.
    async fn proof(&self, server: &Serving, run: &str) -> Value {
        server.succeeded(run).await;
        let path = format!("/enterprises/{}/records/custody-drill", self.name);
        let page = server.operator(Method::GET, &path, "engineer", &Value::Null).await;
        let of_key = |record: &&Value| record["key"] == self.key.as_str();
        let proof = page["items"].as_array().unwrap().iter().find(of_key).unwrap()["body"].clone();
        assert_eq!((&proof["run"], &proof["key_material_id"]), (&json!(run), &json!(self.material)), "{proof:#}");
        assert!(proof["proven_at"].is_string(), "{proof:#}");
        proof
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_kms_lost_is_asked_for_and_every_client_gives_it_back_from_its_backup() {
    let folder = tempfile::tempdir().unwrap();
    let server = serve_with(folder.path(), &["--sandbox-listen", "127.0.0.1:0"], &[LOOKS]);
    let aws = Aws::sandboxed_at(&Config::default(), server.sandbox.as_deref().unwrap(), 60.0);
    let mut shown = Vec::new();
    for client in keeping() {
        let Some(kept) = Kept::onboarded(&server, &aws, client).await else { continue };
        kept.lose().await;
        let run = server.asking(&kept.name, "reimport").await;
        let letter = server.told(&format!("{}@example.com", kept.name), "import your encryption keys again").await;
        assert!(letter.subject.contains("data cannot be read") && letter.text.contains(WEST), "{letter:#?}");
        kept.offers_other_bytes();
        assert!(!kept.decrypts().await, "{}: other bytes came into the key", kept.name);
        kept.gives_back();
        assert!(kept.decrypts().await, "{}", kept.name);
        assert_eq!(kept.proof(&server, &run).await["drill"], false);
        shown.push(kept);
    }
    // Each loss was said once, however often it was seen, and once more when it was made good.
    let mut log = String::new();
    for _ in 0..100 {
        log = fs::read_to_string(folder.path().join("stderr.log")).unwrap();
        if log.matches("imported material is back").count() == shown.len() {
            break;
        }
        SystemClock.sleep(Duration::from_millis(50)).await;
    }
    for said in ["imported material is gone", "imported material is back"] {
        assert_eq!(log.matches(said).count(), shown.len(), "{said}: {log}");
    }
    let kept = shown.pop().expect("the program needs nothing that could be missing");
    let drill = json!({ "workflow": "reimport", "input": { "drill": true, "regions": [WEST] } });
    let path = format!("/enterprises/{}/runs", kept.name);
    let run = server.operator(Method::POST, &path, "engineer", &drill).await["id"].as_str().unwrap().to_owned();
    assert_eq!(server.asking(&kept.name, "reimport").await, run);
    server.told(&format!("{}@example.com", kept.name), "custody drill").await;
    let refused = server.refused(Method::POST, &path, &drill).await;
    assert_eq!((&refused["status"], &refused["code"]), (&json!(409), &json!("reimport-open")), "{refused:#}");
    assert!(refused["detail"].as_str().unwrap().contains(&run), "{refused:#}");
    kept.offers_other_bytes();
    assert!(kept.decrypts().await, "a drill interrupts nothing");
    kept.gives_back();
    assert_eq!(kept.proof(&server, &run).await["drill"], true);
    assert!(kept.decrypts().await);
}

/// What `prove-key` found, by probe.
async fn probes(server: &Serving, run: &str) -> BTreeMap<String, String> {
    let path = format!("/runs/{run}/history?limit=200");
    let page = server.operator(Method::GET, &path, "engineer", &Value::Null).await;
    let rows = page["items"].as_array().unwrap();
    let found = rows.iter().rev().find_map(|row| row["event"]["output"]["probes"].as_array()).unwrap();
    let word = |probe: &Value, member: &str| probe[member].as_str().unwrap().to_owned();
    found.iter().map(|probe| (word(probe, "name"), word(probe, "state"))).collect()
}

/// The same on request, with ministack for KMS. It takes other bytes at a re-import, so that they are refused is shown against
/// the sandbox alone; and it has no ReEncrypt, so that the last probe fails and the run asks an engineer instead of ending.
#[tokio::test(flavor = "multi_thread")]
async fn on_request_what_ministack_lost_is_given_back_from_the_backup() {
    let Some(url) = required("KEYFERRY_TEST_MINISTACK_URL", "ministack") else { return };
    let folder = tempfile::tempdir().unwrap();
    // It shows at once what was done.
    let variables = [("KEYFERRY_AWS__POLL_S", "1"), ("KEYFERRY_AWS__POLICY_GRACE_S", "1")];
    let server = serve_before(&url, folder.path(), &variables);
    let aws = Aws::sandboxed_at(&Config::default(), &url, 1.0);
    for client in keeping() {
        let Some(kept) = Kept::onboarded(&server, &aws, client).await else { continue };
        kept.lose().await;
        let started = server.command(&["run", "start", &kept.name, "--workflow", "reimport"]);
        let run = started["id"].as_str().unwrap();
        assert_eq!(server.asking(&kept.name, "reimport").await, run);
        server.told(&format!("{}@example.com", kept.name), "data cannot be read").await;
        kept.gives_back();
        assert!(kept.decrypts().await, "{}", kept.name);
        server.until(run, |forms| forms.contains(&"key-review".to_owned())).await;
        let found = probes(&server, run).await;
        let failed: Vec<&str> =
            found.iter().filter(|(_, state)| *state == "failed").map(|(name, _)| name.as_str()).collect();
        assert_eq!(failed, ["re-encrypt"], "if ministack has it now, let the run end here too: {found:?}");
        for name in ["key-metadata", "key-material", "encrypt-decrypt", "data-key"] {
            assert_eq!(found[name], "passed", "{found:?}");
        }
    }
}

/// The upload of the re-import is the third that the process relays.
#[cfg(feature = "failpoints")]
#[tokio::test(flavor = "multi_thread")]
async fn killed_in_the_middle_of_a_re_import_the_program_tells_the_truth_and_the_run_succeeds() {
    for (failpoint, taken) in
        [("import::before_relay:3", true), ("import::after_relay:3", true), ("import::after_commit:3", false)]
    {
        let folder = tempfile::tempdir().unwrap();
        let variables = [LOOKS, ("KEYFERRY_FAILPOINT", failpoint)];
        let mut server = serve_with(folder.path(), &["--sandbox-listen", "127.0.0.1:0"], &variables);
        let sandbox = server.sandbox.clone().unwrap();
        let aws = Aws::sandboxed_at(&Config::default(), &sandbox, 60.0);
        let kept = Kept::onboarded(&server, &aws, Client::Program).await.unwrap();
        kept.lose().await;
        let run = server.asking(&kept.name, "reimport").await;
        let customer = Arc::clone(&kept.customer);
        let import = tokio::task::spawn_blocking(move || customer.run("backup.enc"));
        server.died().await;
        let address = server.customer.strip_prefix("http://").unwrap().to_owned();
        drop(server);
        let listen = ["--sandbox-listen", sandbox.strip_prefix("http://").unwrap()];
        let server = serve_at(folder.path(), &address, &listen, &[LOOKS]);
        // The client goes on by itself: it sends the same upload again.
        let output = import.await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("trying again"), "{failpoint}: {said}");
        assert_eq!(output.status.success(), taken, "{failpoint}: {said}");
        if taken {
            let receipt: Value = serde_json::from_slice(&output.stdout).unwrap();
            assert_eq!(places(&[receipt]), [(WEST.to_owned(), kept.key.clone(), kept.material.clone())], "{failpoint}");
        } else {
            assert!(said.contains("was imported into us-west-2 before"), "{failpoint}: {said}");
        }
        kept.proof(&server, &run).await;
        assert!(kept.decrypts().await, "{failpoint}");
        let to = format!("{}@example.com", kept.name);
        let told = || server.letters(&to).into_iter().filter(|letter| letter.subject.contains("keys have arrived"));
        // One of the onboarding, one of the re-import, however often the process died.
        for _ in 0..200 {
            if told().count() == 2 {
                break;
            }
            SystemClock.sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(told().count(), 2, "{failpoint}: {:#?}", server.letters(&to));
        assert!(told().all(|letter| letter.text.contains(&kept.material)), "{failpoint}");
        let described = kept.kms.describe_key().key_id(&kept.key).send().await.unwrap().key_metadata.unwrap();
        assert_eq!(described.current_key_material_id(), Some(kept.material.as_str()), "{failpoint}");
    }
}
