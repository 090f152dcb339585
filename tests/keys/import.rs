//! From a request for tokens to a run that goes on.

use keyferry::keys::import::Algorithm;

use crate::support::import::{EAST, Vendor, WEST, asked, body, targets, upload, wrap};

const KEY: [u8; 32] = *b"thirty-two bytes of a customer's";

#[tokio::test(flavor = "multi_thread")]
async fn region_by_region_or_all_in_one_round_an_import_lets_the_run_go_on() {
    let vendor = Vendor::new().await;
    let run = vendor.waiting(&[]).await;
    let opened = vendor.production.request(asked(None)).await.unwrap();
    assert_eq!(
        (opened.first.region.as_str(), opened.remaining.as_slice()),
        (WEST, [WEST.to_owned(), EAST.to_owned()].as_slice())
    );
    assert_eq!(opened.targets.iter().map(|target| target.region.as_str()).collect::<Vec<_>>(), [WEST, EAST]);
    let wrapped = wrap(&opened.first.public_key, Algorithm::OaepSha1, &KEY);
    let receipt = upload(&vendor.production, "dave", body(&opened.first.import_token, &wrapped)).await.unwrap();
    assert_eq!((receipt.first.region.as_str(), receipt.remaining.as_slice()), (WEST, [EAST.to_owned()].as_slice()));
    let evidence = vendor.service.record("dave", "key-material", &receipt.first.key_id).await.unwrap().unwrap().body;
    assert_eq!(evidence["key_material_id"], receipt.first.key_material_id.as_str());
    // The next request is for the next region by itself.
    let next = vendor.production.request(asked(None)).await.unwrap();
    assert_eq!(next.first.region, EAST);
    let receipt = upload(&vendor.production, "dave", targets(&next, &KEY)).await.unwrap();
    assert!(receipt.remaining.is_empty());
    vendor.until(&run, |view| view.waiting_for.iter().all(|wait| wait.form.as_deref() != Some("key-import"))).await;
    assert_eq!(vendor.imports(), 2);
    vendor
        .until(&run, |view| view.summary.contains("child") || view.ended_at.is_some() || !view.children.is_empty())
        .await;
    vendor.stop().await;
}
