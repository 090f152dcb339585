//! A vendor-managed onboarding that waits for its keys, and a customer who can wrap.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use super::patience::looks;
use aws_lc_rs::rsa::{OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use keyferry::{
    aws::Aws,
    config::Config,
    engine::{Actor, Standing},
    forms::Forms,
    keys::import::{
        Algorithm, Asked, Cloud, Desk, DeskOptions, Opened, Realm, Receipt, Refusal, Spec, Uploaded, read_upload,
    },
    sandbox::{Options, Sandbox},
    steps::{Domain, register},
    store::SqliteStore,
    worker::{Clock, Definitions, NewEnterprise, Registry, RunView, Service, ServiceOptions, StartRun, SystemClock},
};
use serde_json::{Value, json};
use tokio::sync::watch;

pub const WEST: &str = "us-west-2";
pub const EAST: &str = "us-east-1";
pub const FLOOR: Duration = Duration::from_millis(40);

const DEFINITIONS: [(&str, &str); 5] = [
    ("compliance-audit", include_str!("../../workflows/compliance-audit.asl.json")),
    ("final-steps", include_str!("../../workflows/final-steps.asl.json")),
    ("key-loss", include_str!("../../workflows/key-loss.asl.json")),
    ("reimport", include_str!("../../workflows/reimport.asl.json")),
    ("vendor-managed", include_str!("../../workflows/vendor-managed.asl.json")),
];

pub struct Vendor {
    pub service: Service,
    pub sandbox: Sandbox,
    pub production: Desk,
    pub test: Desk,
    stop: watch::Sender<bool>,
}

fn actor(role: &str) -> Actor {
    Actor { name: role.to_owned(), role: role.to_owned() }
}

async fn sandbox(clock: &Arc<dyn Clock>, speed: f64) -> Sandbox {
    let wall = Arc::clone(clock);
    let options = Options {
        data: None,
        speed,
        wall: Arc::new(move || wall.now()),
        default_account: "127450652264".to_owned(),
        quotas: 1,
    };
    Sandbox::open(options).await.unwrap()
}

fn desk(service: &Service, clock: &Arc<dyn Clock>, realm: Realm, aws: Arc<Aws>, speed: f64) -> Desk {
    Desk::new(DeskOptions {
        service: service.clone(),
        clock: Arc::clone(clock),
        config: Arc::new(Config::default()),
        realm,
        clouds: Arc::new(move |_| Cloud { aws: Arc::clone(&aws), speed }),
        floor: FLOOR,
    })
}

/// The test environment of another server over the same store, which has a cloud of its own.
pub async fn another_test_environment(service: &Service, clock: Arc<dyn Clock>) -> Desk {
    let aws = Arc::new(Aws::sandboxed(&Config::default(), &sandbox(&clock, 1.0).await));
    desk(service, &clock, Realm::Test, aws, 1.0)
}

impl Vendor {
    /// keyferry over a database in `folder`, with a worker at work.
    pub async fn open(folder: &Path, clock: Arc<dyn Clock>, speed: f64) -> Self {
        let config = Arc::new(Config::default());
        let (cloud, test_cloud) = (sandbox(&clock, speed).await, sandbox(&clock, speed).await);
        let aws = Arc::new(Aws::sandboxed(&config, &cloud));
        let poll = Duration::from_millis(20);
        let domain = Domain::paced(Arc::clone(&aws), Arc::clone(&config), poll, Duration::from_secs(2));
        let mut steps = Registry::new();
        register(&domain).into_iter().for_each(|step| steps.add(step));
        let mut definitions = Definitions::new();
        for (name, source) in DEFINITIONS {
            definitions.add(name, source).unwrap();
        }
        definitions.share("compliance-audit");
        definitions.share("key-loss");
        definitions.share("reimport");
        let service = Service::open(ServiceOptions {
            store: Arc::new(SqliteStore::open(&folder.join("keyferry.db")).await.unwrap()),
            definitions,
            steps,
            forms: Arc::new(Forms::shipped().unwrap()),
            clock: Arc::clone(&clock),
            config: Arc::clone(&config),
            poll: Some(Duration::from_millis(50)),
        })
        .await
        .unwrap();
        let production = desk(&service, &clock, Realm::Production, Arc::clone(&aws), speed);
        let test_aws = Arc::new(Aws::sandboxed(&config, &test_cloud));
        let test = desk(&service, &clock, Realm::Test, test_aws, speed);
        let (stop, stopping) = watch::channel(false);
        let worker = service.clone();
        tokio::spawn(async move { worker.run_worker(stopping, Duration::from_secs(5)).await });
        let vendor = Self { service, sandbox: cloud, production, test, stop };
        for id in ["dave", "erin"] {
            vendor.add(id).await;
        }
        vendor
    }

    /// The same in a folder that lives as long as the process, on the system's clock.
    pub async fn new() -> Self {
        Self::open(&tempfile::tempdir().unwrap().keep(), Arc::new(SystemClock), 1.0).await
    }

    pub async fn add(&self, id: &str) {
        let enterprise = NewEnterprise {
            id: id.to_owned(),
            name: id.to_owned(),
            partition: "aws".to_owned(),
            customer_email: None,
            csm_email: None,
            engineer_email: None,
            audit_emails: Vec::new(),
        };
        self.service.add_enterprise(enterprise).await.unwrap();
    }

    pub async fn start(&self, enterprise: &str) -> String {
        let start = StartRun {
            enterprise: enterprise.to_owned(),
            workflow: "vendor-managed".to_owned(),
            input: json!({}),
            actor: actor("engineer"),
            idempotency_key: None,
        };
        self.service.start_run(start).await.unwrap().id
    }

    /// A run whose keys are made and wait for material.
    pub async fn waiting(&self, own_keys: &[&str]) -> String {
        let run = self.start("dave").await;
        let instances: BTreeMap<&str, &str> = own_keys.iter().map(|own| (*own, WEST)).collect();
        let regions =
            json!({ "primary": WEST, "disaster_recovery": EAST, "own_keys": own_keys, "instances": instances });
        let visit = self.service.open_form(&run, "regions").await.unwrap().visit;
        self.service.answer(&run, "regions", &visit, regions, actor("engineer")).await.unwrap();
        self.until(&run, |view| view.waiting_for.iter().any(|wait| wait.form.as_deref() == Some("key-import"))).await;
        run
    }

    pub async fn until(&self, run: &str, holds: impl Fn(&RunView) -> bool) -> RunView {
        for _ in looks() {
            let view = self.service.run(run).await.unwrap();
            if holds(&view) {
                return view;
            }
            assert!(view.status != Standing::Attention, "{view:#?}");
            SystemClock.sleep(Duration::from_millis(10)).await;
        }
        panic!("it does not come to that: {:#?}", self.service.run(run).await)
    }

    /// How often material was imported into a key.
    pub fn imports(&self) -> usize {
        self.sandbox.ledger().iter().filter(|entry| entry.action == "ImportKeyMaterial").count()
    }

    pub async fn stop(self) {
        self.stop.send_replace(true);
    }
}

/// A request of dave's, in small wrapping keys that are made fast.
pub fn asked(region: Option<&str>) -> Asked {
    Asked {
        enterprise: "dave".to_owned(),
        by: "api-key k1".to_owned(),
        region: region.map(str::to_owned),
        instance: None,
        algorithm: Algorithm::OaepSha1,
        spec: Spec::Rsa2048,
    }
}

/// Wraps as a customer does.
pub fn wrap(public_key: &str, algorithm: Algorithm, plain: &[u8]) -> Vec<u8> {
    let der = pem::parse(public_key).unwrap();
    assert_eq!(der.tag(), "PUBLIC KEY");
    let key = OaepPublicEncryptingKey::new(PublicEncryptingKey::from_der(der.contents()).unwrap()).unwrap();
    let algorithm = match algorithm {
        Algorithm::OaepSha1 => &OAEP_SHA1_MGF1SHA1,
        Algorithm::OaepSha256 => &OAEP_SHA256_MGF1SHA256,
    };
    let mut out = vec![0; key.ciphertext_size()];
    key.encrypt(algorithm, plain, &mut out, None).unwrap().to_vec()
}

pub fn body(token: &str, material: &[u8]) -> Vec<u8> {
    json!({ "importToken": token, "keyMaterial": BASE64.encode(material) }).to_string().into_bytes()
}

pub async fn upload(desk: &Desk, enterprise: &str, mut body: Vec<u8>) -> Result<Receipt, Refusal> {
    let parts = read_upload(&mut body)?;
    desk.import(Uploaded { enterprise: enterprise.to_owned(), by: "api-key k1".to_owned(), parts }).await
}

/// A body with every target of `opened`, `plain` wrapped for each.
pub fn targets(opened: &Opened, plain: &[u8]) -> Vec<u8> {
    let all: Vec<Value> = opened
        .targets
        .iter()
        .map(|target| {
            let material = BASE64.encode(wrap(&target.public_key, target.algorithm, plain));
            json!({ "region": target.region, "importToken": target.import_token, "keyMaterial": material })
        })
        .collect();
    json!({ "targets": all }).to_string().into_bytes()
}
