//! The clients of key import that customers have: the packet's scripts, the program, and the specification's two samples.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use keyferry::{
    config::Config,
    packet::{SCRIPTS, Script, tailored},
};
use serde_json::Value;

use crate::{cli::keyferry, support::required};

/// A client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    /// One of the packet's, as it is in the packet.
    Script(&'static Script),
    /// `keyferry customer import-key`.
    Program,
    /// The specification's samples as they stand, which import one key a run and are run once a region.
    BashSample,
    NodeSample,
}

/// Those that keep a backup.
pub fn keeping() -> Vec<Client> {
    SCRIPTS.iter().map(Client::Script).chain([Client::Program]).collect()
}

pub fn all() -> Vec<Client> {
    keeping().into_iter().chain([Client::BashSample, Client::NodeSample]).collect()
}

/// The sample's own words, in a function because of their `await`, with what they take for given.
const NODE_FRAME: [&str; 2] = [
    "const axios = require('axios');\nconst crypto = require('node:crypto');\n\
     const config = { EXTERNAL_API_URL: process.env.endpoint };\n\
     const [eid, apiKey] = [process.env.enterpriseid, process.env.apikey];\n\
     const run = async () => {\n",
    "\nconsole.log(JSON.stringify(respPost.data));\n};\n\
     run().catch((error) => { console.error(error.message, error.response?.data); process.exitCode = 1; });\n",
];

/// Where `base64` breaks its lines, as GNU's does, the sample needs one that does not.
const UNBROKEN: &str = r#"base64() { case "$*" in *-d*) command base64 "$@" ;; *) command base64 -w0 "$@" ;; esac; }"#;

impl Client {
    /// A name that an enterprise can have.
    pub fn name(self) -> String {
        match self {
            Self::Script(script) => format!("script-{}", script.language),
            Self::Program => "program".to_owned(),
            Self::BashSample => "sample-bash".to_owned(),
            Self::NodeSample => "sample-node".to_owned(),
        }
    }

    /// What runs it; `None` where that is missing outside of CI.
    pub fn tools(self) -> Option<String> {
        match self {
            Self::Script(Script { language: "python", .. }) => {
                required("KEYFERRY_TEST_PYTHON", "Python with cryptography and requests")
            }
            Self::Script(Script { language: "js", .. }) => required("KEYFERRY_TEST_NODE", "Node.js"),
            Self::Script(Script { language: "bash", .. }) | Self::BashSample => {
                required("KEYFERRY_TEST_JQ", "jq").map(|_| "bash".to_owned())
            }
            Self::Script(script) => panic!("nothing runs {}", script.file),
            Self::NodeSample => {
                required("KEYFERRY_TEST_NODE_MODULES", "axios")?;
                required("KEYFERRY_TEST_NODE", "Node.js")
            }
            Self::Program => Some(String::new()),
        }
    }
}

/// A customer's folder, with a client, an API key and a passphrase.
pub struct Customer {
    pub client: Client,
    enterprise: String,
    endpoint: String,
    tool: String,
    api_key: String,
    folder: tempfile::TempDir,
}

impl Customer {
    /// `endpoint` is an environment's, as the packet names it. `None` where the client's tools are missing outside of CI.
    pub fn new(client: Client, enterprise: &str, endpoint: &str, api_key: &str) -> Option<Self> {
        let tool = client.tools()?;
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("api-key.txt"), format!("{api_key}\n")).unwrap();
        fs::write(folder.path().join("passphrase.txt"), "correct horse\n").unwrap();
        let (enterprise, endpoint, api_key) = (enterprise.to_owned(), endpoint.to_owned(), api_key.to_owned());
        Some(Self { client, enterprise, endpoint, tool, api_key, folder })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Imports into every region that waits, from the backup of this name, which is made if it is missing.
    pub fn import(&self, backup: &str) -> Vec<Value> {
        let runs = match self.client {
            Client::Script(_) | Client::Program => 1,
            Client::BashSample | Client::NodeSample => 2,
        };
        (0..runs).flat_map(|_| self.succeeds(backup)).collect()
    }

    fn succeeds(&self, backup: &str) -> Vec<Value> {
        let output = self.run(backup);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{:?} ended with {}: {said}", self.client.name(), output.status);
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line:?}: {said}"))).collect()
    }

    /// Runs it once.
    pub fn run(&self, backup: &str) -> Output {
        let mut command = match self.client {
            Client::Script(script) => self.script(script, backup),
            Client::Program => self.program(backup),
            Client::BashSample => {
                let mut command = Command::new(&self.tool);
                command.args(["-c", &format!("set -e\n{UNBROKEN}\n{}", include_str!("sample.sh"))]);
                command
            }
            Client::NodeSample => {
                fs::write(self.path("sample.cjs"), NODE_FRAME.join(include_str!("sample.js"))).unwrap();
                let mut command = Command::new(&self.tool);
                command.arg("sample.cjs");
                command.env("NODE_PATH", std::env::var("KEYFERRY_TEST_NODE_MODULES").unwrap_or_default());
                command
            }
        };
        if matches!(self.client, Client::BashSample | Client::NodeSample) {
            command.envs([("apikey", &self.api_key), ("enterpriseid", &self.enterprise), ("endpoint", &self.endpoint)]);
        }
        command.env("NO_PROXY", "127.0.0.1").current_dir(self.folder.path()).stdin(Stdio::null()).output().unwrap()
    }

    fn script(&self, script: &Script, backup: &str) -> Command {
        let mut config = Config::default();
        config.customer.public_url.clone_from(&self.endpoint);
        fs::write(self.path(script.file), tailored(script, &config, &self.enterprise)).unwrap();
        let mut command = Command::new(&self.tool);
        // The packet names both endpoints; which one is meant is the argument alone.
        command.args([script.file, "production"]).env("API_KEY_FILE", "api-key.txt").env("BACKUP", backup);
        command.env("BACKUP_PASSPHRASE_FILE", "passphrase.txt");
        command
    }

    fn program(&self, backup: &str) -> Command {
        let mut command = keyferry(&["customer", "import-key", "--output", "json", "--endpoint", &self.endpoint]);
        command.args(["--enterprise", &self.enterprise, "--api-key-file", "api-key.txt"]);
        command.args(["--backup", backup, "--backup-passphrase-file", "passphrase.txt"]);
        command
    }
}

/// The parts of receipts that say where material is: region, key, KeyMaterialId.
pub fn places(receipts: &[Value]) -> Vec<(String, String, String)> {
    let member = |receipt: &Value, name: &str| receipt[name].as_str().unwrap_or_default().to_owned();
    receipts.iter().map(|one| (member(one, "region"), member(one, "keyId"), member(one, "keyMaterialId"))).collect()
}

/// Whether a file of the folder is there.
pub fn is_there(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.len() > 0)
}
