//! Tokens that run out: the customer hears of it by mail, before and after.

use crate::support::serving::serve_with;

#[tokio::test(flavor = "multi_thread")]
async fn the_customer_is_told_once_before_tokens_expire_and_once_after() {
    let folder = tempfile::tempdir().unwrap();
    // A day of KMS's in ten seconds.
    let server = serve_with(folder.path(), &["--speed", "8640"], &[]);
    let run = server.waiting("dave").await;
    let key = server.api_key("dave", "production").await;
    let opened = server.ask(&key, "?wrappingKeySpec=RSA_2048").await;
    assert_eq!(opened["targets"].as_array().unwrap().len(), 2);
    let before = server.told("dave@example.com", "your import tokens expire soon").await;
    let after = server.told("dave@example.com", "your import tokens have expired").await;
    assert!(before.text.contains("Upload the wrapped keys before that"), "{before:#?}");
    assert!(after.text.contains("ask for new tokens"), "{after:#?}");
    for said in ["expire soon", "have expired"] {
        let letters = server.letters("dave@example.com");
        assert_eq!(letters.iter().filter(|letter| letter.subject.contains(said)).count(), 1, "{letters:#?}");
    }
    server.until(&run, |forms| forms.contains(&"key-import".to_owned())).await;
}
