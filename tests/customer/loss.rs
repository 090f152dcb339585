//! A key that is lost and comes back: the customer's own client gives KMS the same bytes again, from its backup.
//!
//! The material came through the server; it is deleted and imported again at KMS, where a desk of this test hands out
//! KMS's own parameters to the clients.

use std::sync::Arc;

use aws_sdk_kms::{
    Client as Kms,
    primitives::Blob,
    types::{AlgorithmSpec, ExpirationModelType, WrappingKeySpec},
};
use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
    routing::{post, put},
};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use keyferry::{
    aws::Aws,
    config::Config,
    http::{Limits, serve as serve_http},
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::watch};

use super::client::{Customer, is_there, keeping, places};
use crate::support::{import::WEST, serving::serve};

struct Lost {
    kms: Kms,
    key: String,
}

async fn request_again(State(lost): State<Arc<Lost>>) -> Json<Value> {
    let call = lost.kms.get_parameters_for_import().key_id(&lost.key);
    let call = call.wrapping_algorithm(AlgorithmSpec::RsaesOaepSha256).wrapping_key_spec(WrappingKeySpec::Rsa4096);
    let given = call.send().await.unwrap();
    let public = pem::encode(&pem::Pem::new("PUBLIC KEY", given.public_key.unwrap().into_inner()));
    let token = BASE64.encode(given.import_token.unwrap());
    let target =
        json!({ "region": WEST, "publicKey": public, "importToken": token, "algorithm": "RSAES_OAEP_SHA_256" });
    Json(json!({ "targets": [target], "remaining": [WEST] }))
}

async fn import_again(State(lost): State<Arc<Lost>>, Json(body): Json<Value>) -> Response {
    let part = |name: &str| Blob::new(BASE64.decode(body["targets"][0][name].as_str().unwrap()).unwrap());
    let call = lost.kms.import_key_material().key_id(&lost.key).import_token(part("importToken"));
    let call = call.encrypted_key_material(part("keyMaterial"));
    match call.expiration_model(ExpirationModelType::KeyMaterialDoesNotExpire).send().await {
        Ok(done) => {
            let receipt = json!({
                "status": "imported", "id": "again", "region": WEST, "keyId": lost.key, "keyMaterialId": done.key_material_id,
            });
            Json(json!({ "remaining": [], "results": [receipt] })).into_response()
        }
        Err(error) => {
            let code = if error.into_service_error().is_incorrect_key_material_exception() {
                "other-bytes"
            } else {
                "another-error"
            };
            (StatusCode::CONFLICT, Json(json!({ "code": code, "detail": "KMS refused." }))).into_response()
        }
    }
}

async fn desk(lost: Arc<Lost>) -> (String, watch::Sender<bool>) {
    let router = Router::new()
        .route("/!/ems/enterprises/{enterprise}/cmk/import-key-request", put(request_again))
        .route("/!/ems/enterprises/{enterprise}/cmk/import-key", post(import_again))
        .with_state(lost);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let (stop, shutdown) = watch::channel(false);
    tokio::spawn(serve_http(listener, router, Limits::default(), shutdown));
    (endpoint, stop)
}

async fn decrypted(lost: &Lost, ciphertext: &Blob) -> Option<Vec<u8>> {
    let call = lost.kms.decrypt().key_id(&lost.key).ciphertext_blob(ciphertext.clone());
    call.send().await.ok().and_then(|done| done.plaintext).map(Blob::into_inner)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_gives_a_lost_key_back_from_its_backup_and_other_bytes_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let server = serve(folder.path(), None, &["--sandbox-listen", "127.0.0.1:0"]);
    let aws = Aws::sandboxed_at(&Config::default(), server.sandbox.as_deref().unwrap(), 60.0);
    let mut shown = 0;
    for client in keeping() {
        let name = client.name();
        server.waiting(&name).await;
        let made = server.command(&["api-key", "create", &name, "--environment", "production"]);
        let customer = Customer::new(client, &name, &server.customer, made["key"].as_str().unwrap());
        let Some(customer) = customer else { continue };
        let importing = tokio::task::spawn_blocking(move || (places(&customer.import("backup.enc")), customer));
        let (imported, mut customer) = importing.await.unwrap();
        assert!(is_there(&customer.path("backup.enc")));
        let (_, key, material) = imported[0].clone();
        let lost = Arc::new(Lost { kms: aws.kms(WEST).await.unwrap(), key: key.clone() });
        let plaintext = Blob::new(b"what the vendor keeps for its customer".as_slice());
        let call = lost.kms.encrypt().key_id(&key).plaintext(plaintext.clone());
        let ciphertext = call.send().await.unwrap().ciphertext_blob.unwrap();
        assert_eq!(decrypted(&lost, &ciphertext).await.as_deref(), Some(plaintext.as_ref()), "{name}");

        lost.kms.delete_imported_key_material().key_id(&key).send().await.unwrap();
        assert_eq!(decrypted(&lost, &ciphertext).await, None, "{name}: it decrypts without its key");

        let (endpoint, _stop) = desk(Arc::clone(&lost)).await;
        let (other, again) = tokio::task::spawn_blocking(move || {
            customer.at(&endpoint);
            (customer.run("other.enc"), places(&customer.import("backup.enc")))
        })
        .await
        .unwrap();
        let said = String::from_utf8_lossy(&other.stderr);
        assert_eq!(other.status.code(), Some(1), "{name}: other bytes were taken");
        assert!(said.contains("other-bytes") || said.contains("KMS refused"), "{name}: {said}");
        assert_eq!(again, [(WEST.to_owned(), key, material)], "{name}");
        assert_eq!(decrypted(&lost, &ciphertext).await.as_deref(), Some(plaintext.as_ref()), "{name}");
        shown += 1;
    }
    assert!(shown > 0, "the program needs nothing that could be missing");
}
