//! Every client imports into both regions, in production and in the test environment: against the sandbox, and in production
//! against ministack too.

use std::{path::Path, sync::Arc};

use keyferry::{
    aws::Aws,
    config::Config,
    sandbox::{Options, Sandbox},
    worker::{Clock as _, SystemClock},
};

use super::client::{Client, Customer, all, places};
use crate::support::{
    import::{EAST, WEST},
    required,
    serving::{Serving, serve, serve_before},
};

type Places = Vec<(String, String, String)>;

/// One customer a client, each an enterprise of its own. One after the other: a sandbox that makes wrapping keys for all of them
/// at once may keep one waiting for longer than KMS is waited for, and the samples do not try again.
async fn import_all(server: &Serving, clients: &[Client], environment: &str, endpoint: &str) -> Vec<(Client, Places)> {
    let mut imported = Vec::new();
    for &client in clients {
        let name = client.name();
        let made = server.command(&["api-key", "create", &name, "--environment", environment]);
        let Some(customer) = Customer::new(client, &name, endpoint, made["key"].as_str().unwrap()) else { continue };
        let importing = tokio::task::spawn_blocking(move || places(&customer.import("backup.enc")));
        let places = importing.await.unwrap();
        let regions: Vec<&str> = places.iter().map(|(region, ..)| region.as_str()).collect();
        assert_eq!(regions, [WEST, EAST], "{client:?} in {environment}");
        imported.push((client, places));
    }
    imported
}

/// What KMS itself says of a key: Enabled, with the material that the receipt names.
async fn in_kms(aws: &Aws, places: &Places) {
    for (region, key, material) in places {
        let described = aws.kms(region).await.unwrap().describe_key().key_id(key).send().await.unwrap();
        let metadata = described.key_metadata.unwrap();
        assert_eq!(metadata.key_state().unwrap().as_str(), "Enabled", "{key}");
        assert_eq!(metadata.current_key_material_id(), Some(material.as_str()), "{key}");
        assert_eq!(material.len(), 64, "{key}");
    }
}

/// The vendor in another account, which is a customer's own in the test environment.
fn in_account_of(key: &str) -> Config {
    let mut config = Config::default();
    let account = key.split(':').nth(4).unwrap();
    config.aws.partitions.values_mut().for_each(|place| account.clone_into(&mut place.account));
    config
}

async fn opened(file: &Path) -> Sandbox {
    let options = Options {
        data: Some(file.to_owned()),
        speed: 1.0,
        wall: Arc::new(|| SystemClock.now()),
        default_account: "127450652264".to_owned(),
        quotas: 1,
    };
    Sandbox::open(options).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_client_imports_into_both_regions_in_either_environment() {
    let folder = tempfile::tempdir().unwrap();
    let server = serve(folder.path(), None, &["--sandbox-listen", "127.0.0.1:0"]);
    let clients = all();
    let mut runs = Vec::new();
    for client in &clients {
        runs.push((*client, server.waiting(&client.name()).await));
    }
    let test = import_all(&server, &clients, "test", &format!("{}/test", server.customer)).await;
    for (client, run) in &runs {
        // A test key leaves production as it was.
        server.until(run, |forms| forms.contains(&"key-import".to_owned())).await;
        assert!(test.iter().any(|(done, _)| done == client) || client.tools().is_none(), "{client:?} did nothing");
    }
    let production = import_all(&server, &clients, "production", &server.customer).await;
    let aws = Aws::sandboxed_at(&Config::default(), server.sandbox.as_deref().unwrap(), 60.0);
    for (client, places) in &production {
        in_kms(&aws, places).await;
        let (_, run) = runs.iter().find(|(of, _)| of == client).unwrap();
        server.until(run, |forms| !forms.contains(&"key-import".to_owned())).await;
    }
    assert!(production.len() >= 2, "the program and the sample in bash need nothing that could be missing");
    drop(server);
    let cloud = opened(&folder.path().join("test-cloud.db")).await;
    for (_, places) in &test {
        in_kms(&Aws::sandboxed(&in_account_of(&places[0].1), &cloud), places).await;
    }
}

/// The same through the SDK's own way to an endpoint, with an emulator behind it that others wrote. What it cannot show: it
/// takes other material at a re-import, never lets material expire, and its ciphertexts are not authenticated; its RDS has no
/// CopyDBSnapshot, so no onboarding comes to its end there.
#[tokio::test(flavor = "multi_thread")]
async fn every_client_imports_into_both_regions_of_ministack() {
    let Some(url) = required("KEYFERRY_TEST_MINISTACK_URL", "ministack") else { return };
    let folder = tempfile::tempdir().unwrap();
    let server = serve_before(&url, folder.path(), &[]);
    // KMS's limit counts here: each client waits four seconds for its turn, and ten are the longest wait.
    let aws = Aws::sandboxed_at(&Config::default(), &url, 1.0);
    for client in all() {
        let run = server.waiting(&client.name()).await;
        for (_, places) in import_all(&server, &[client], "production", &server.customer).await {
            in_kms(&aws, &places).await;
            server.until(&run, |forms| !forms.contains(&"key-import".to_owned())).await;
        }
    }
}
