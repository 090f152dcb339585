//! What the time of an answer tells of why KMS refused: nothing. A measurement, not a test of every run: it takes minutes.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use aws_lc_rs::{
    encoding::{AsDer as _, PublicKeyX509Der},
    rsa::{KeySize, PrivateDecryptingKey},
};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use keyferry::{
    keys::import::Algorithm,
    worker::{Clock as _, SystemClock},
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    import::{WEST, wrap},
    serving::{Serving, serve},
};

/// Why the unwrap fails.
const CLASSES: [&str; 5] =
    ["no ciphertext of this key", "the other hash", "under another key", "31 bytes in it", "64 bytes in it"];
/// Customers at once; each waits for its answer most of the time.
const AT_ONCE: usize = 40;

fn materials(public_key: &str, another: &str) -> [Vec<u8>; 5] {
    let chance: Vec<u8> = (0..256).map(|_| SystemClock.chance().to_le_bytes()[0] & 0x7f).collect();
    let key = [7; 32];
    [
        chance,
        wrap(public_key, Algorithm::OaepSha256, &key),
        wrap(another, Algorithm::OaepSha1, &key),
        wrap(public_key, Algorithm::OaepSha1, &key[..31]),
        wrap(public_key, Algorithm::OaepSha1, &[7; 64]),
    ]
}

/// One token's five failures, of which the last locks it, in an order of chance: class and time.
async fn round(server: &Serving, cmk: &str, api_key: &str, another: &str) -> Vec<(usize, Duration)> {
    let path = format!("{cmk}/import-key-request?region={WEST}&wrappingKeySpec=RSA_2048");
    let opened: Value = server.customer(Method::PUT, &path, api_key).send().await.unwrap().json().await.unwrap();
    let materials = materials(opened["publicKey"].as_str().unwrap(), another);
    let mut order = [0, 1, 2, 3, 4];
    for last in (1..order.len()).rev() {
        let with = usize::try_from(SystemClock.chance() % u64::try_from(last + 1).unwrap()).unwrap();
        order.swap(last, with);
    }
    let mut times = Vec::new();
    for class in order {
        let body = json!({ "importToken": opened["importToken"], "keyMaterial": BASE64.encode(&materials[class]) });
        let request = server.customer(Method::POST, &format!("{cmk}/import-key"), api_key).json(&body);
        let began = Instant::now();
        let response = request.send().await.unwrap();
        let status = response.status();
        let said = response.text().await.unwrap();
        times.push((class, began.elapsed()));
        assert!(status == 422 && said.contains("key-material-refused"), "{}: {status} {said}", CLASSES[class]);
    }
    times
}

struct Sample {
    count: f64,
    mean: f64,
    variance: f64,
}

fn sample(times: &[f64]) -> Sample {
    let count = times.len() as f64;
    let mean = times.iter().sum::<f64>() / count;
    let variance = times.iter().map(|time| (time - mean).powi(2)).sum::<f64>() / (count - 1.0);
    Sample { count, mean, variance }
}

fn welch(a: &Sample, b: &Sample) -> f64 {
    (a.mean - b.mean) / (a.variance / a.count + b.variance / b.count).sqrt()
}

#[test]
fn welch_tells_what_differs_from_what_does_not() {
    let noise = |shift: f64| (0..1_000).map(|n| f64::from(n % 17) + shift).collect::<Vec<f64>>();
    assert!(welch(&sample(&noise(0.0)), &sample(&noise(0.0))).abs() < 0.01);
    assert!(welch(&sample(&noise(0.0)), &sample(&noise(2.0))).abs() > 4.5);
}

/// Over the program, its socket and its own floor of 1.5 s, in the test environment: there each enterprise has an account of
/// its own, and KMS's limit on import parameters, one in four seconds, counts for each alone.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement of minutes; KEYFERRY_TIMING_REQUESTS says how many requests"]
async fn the_reasons_of_a_refusal_take_the_same_time() {
    let wanted: usize = std::env::var("KEYFERRY_TIMING_REQUESTS").map_or(1_000, |text| text.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("keyferry.toml");
    let limits = "[customer]\nkey_requests_per_minute = 1000000\n";
    std::fs::write(&config, limits).unwrap();
    let server = Arc::new(serve(folder.path(), None, &["--config", config.to_str().unwrap()]));
    let mut keys = Vec::new();
    for number in 0..AT_ONCE {
        let enterprise = format!("customer-{number}");
        let new = json!({ "id": enterprise, "name": enterprise, "partition": "aws" });
        server.operator(Method::POST, "/enterprises", "engineer", &new).await;
        let key = server.api_key(&enterprise, "test").await;
        keys.push((format!("/test/!/ems/enterprises/{enterprise}/cmk"), key));
    }
    let another = PrivateDecryptingKey::generate(KeySize::Rsa2048).unwrap();
    let der: PublicKeyX509Der<'_> = another.public_key().as_der().unwrap();
    let another = pem::encode(&pem::Pem::new("PUBLIC KEY", der.as_ref()));

    let each = wanted.div_ceil(AT_ONCE * CLASSES.len());
    let customers: Vec<_> = keys
        .into_iter()
        .map(|(cmk, api_key)| {
            let (server, another) = (Arc::clone(&server), another.clone());
            tokio::spawn(async move {
                let mut times = Vec::new();
                for _ in 0..each {
                    times.extend(round(&server, &cmk, &api_key, &another).await);
                }
                times
            })
        })
        .collect();
    let mut times: [Vec<f64>; 5] = Default::default();
    for customer in customers {
        for (class, time) in customer.await.unwrap() {
            times[class].push(time.as_secs_f64() * 1_000.0);
        }
    }
    let samples: Vec<Sample> = times.iter().map(|times| sample(times)).collect();
    println!("{} requests, {AT_ONCE} at once", times.iter().map(Vec::len).sum::<usize>());
    for (class, sample) in CLASSES.iter().zip(&samples) {
        println!(
            "{class:<28} n {:>6}  mean {:>9.3} ms  sd {:>8.3} ms",
            sample.count,
            sample.mean,
            sample.variance.sqrt()
        );
    }
    let mut largest: f64 = 0.0;
    for (number, one) in samples.iter().enumerate() {
        for (other, two) in samples.iter().enumerate().skip(number + 1) {
            let t = welch(one, two);
            println!("{} / {}: Welch's t {t:.2}", CLASSES[number], CLASSES[other]);
            largest = largest.max(t.abs());
        }
    }
    println!("largest |t|: {largest:.2}");
    assert!(largest < 4.5, "the time tells the reasons apart");
}
