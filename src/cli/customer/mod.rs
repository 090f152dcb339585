//! `keyferry customer …`: what a customer does on their own machine.

mod import_key;
mod wrap_key;

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use base64::Engine as _;
use clap::Subcommand;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Common,
    output::{Failure, say},
};
use crate::customer::{Material, Passphrase, Wrapping, wrap};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Import a key: ask for an import, wrap the key for every region that waits, upload it, print receipts; run it again
    /// after a failure and it goes on
    ImportKey(import_key::Command),
    /// Wrap a key under the answer to an import request, offline; prints the body for import-key
    WrapKey(wrap_key::Command),
}

impl Command {
    pub async fn execute(self, common: &Common) -> Result<ExitCode, Failure> {
        match self {
            Self::ImportKey(command) => command.execute(common).await,
            Self::WrapKey(command) => command.execute(),
        }
    }
}

/// Where the key comes from. It is never an argument, which every process of the machine could read.
#[derive(Debug, Clone, clap::Args)]
struct Source {
    /// The protected backup: used if it is there, made of a new key if it is not. `openssl enc -d -aes-256-cbc -pbkdf2 -iter
    /// 600000 -md sha256` opens it too
    #[arg(long, value_name = "FILE", required_unless_present = "key_file")]
    backup: Option<PathBuf>,
    /// A file whose first line is the backup's passphrase
    #[arg(long, value_name = "FILE", requires = "backup")]
    backup_passphrase_file: Option<PathBuf>,
    /// 32 raw bytes of your own key management, `-` for standard input; with --backup, a new backup is made of them
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
}

impl Source {
    fn material(&self) -> Result<Material, Failure> {
        let Some(backup) = &self.backup else {
            return self.read().and_then(|material| {
                material.ok_or_else(|| Failure::Usage("name the key by --backup or --key-file".to_owned()))
            });
        };
        let file = self.backup_passphrase_file.as_deref().ok_or_else(|| {
            Failure::Usage(
                "--backup needs --backup-passphrase-file: a file whose first line is the passphrase".to_owned(),
            )
        })?;
        let passphrase = Passphrase::read(file).map_err(failed)?;
        if backup.exists() && self.key_file.is_none() {
            return Material::from_backup(backup, &passphrase).map_err(failed);
        }
        let material = match self.read()? {
            Some(material) => material,
            None => Material::generate().map_err(failed)?,
        };
        // Before the first upload: a key that is imported and kept nowhere cannot be imported again.
        material.back_up(backup, &passphrase).map_err(failed)?;
        say(&format!(
            "made the backup {}: store a copy of it, and its passphrase, where you will find them in years",
            backup.display()
        ));
        Ok(material)
    }

    fn read(&self) -> Result<Option<Material>, Failure> {
        let Some(path) = &self.key_file else { return Ok(None) };
        let read = if path == Path::new("-") {
            Material::read(io::stdin().lock())
        } else {
            let file = fs::File::open(path)
                .map_err(|error| Failure::Failed(format!("cannot read {}: {error}", path.display())))?;
            Material::read(file)
        };
        read.map(Some).map_err(failed)
    }
}

/// What an import request answered for one key.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Target {
    region: String,
    #[serde(default)]
    instance: Option<String>,
    import_token: String,
    public_key: String,
    algorithm: String,
}

/// The answer to an import request, as far as wrapping needs it.
#[derive(Debug, Clone, Deserialize)]
struct Opened {
    targets: Vec<Target>,
}

/// The body for import-key.
#[derive(Debug, Serialize)]
struct Upload {
    targets: Vec<Part>,
}

/// One wrapped key.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Part {
    region: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<String>,
    import_token: String,
    key_material: String,
}

/// Wraps the key for every target, or for those of one region.
fn wrap_all(material: &Material, opened: Opened, region: Option<&str>) -> Result<Upload, Failure> {
    let wanted = opened.targets.into_iter().filter(|target| region.is_none_or(|region| region == target.region));
    let targets = wanted.map(|target| part(material, target)).collect::<Result<Vec<_>, _>>()?;
    match (targets.is_empty(), region) {
        (false, _) => Ok(Upload { targets }),
        (true, Some(region)) => Err(Failure::Failed(format!("no key of {region} waits for material"))),
        (true, None) => Err(Failure::Failed("no key waits for material".to_owned())),
    }
}

fn part(material: &Material, target: Target) -> Result<Part, Failure> {
    let wrapping = Wrapping::from_word(&target.algorithm).ok_or_else(|| {
        Failure::Failed(format!("the request asks for {}, which this version does not know", target.algorithm))
    })?;
    let wrapped = wrap(material, &target.public_key, wrapping).map_err(failed)?;
    Ok(Part {
        region: target.region,
        instance: target.instance,
        import_token: target.import_token,
        key_material: base64::engine::general_purpose::STANDARD.encode(wrapped),
    })
}

fn opened(answer: Value) -> Result<Opened, Failure> {
    serde_json::from_value(answer)
        .map_err(|error| Failure::Failed(format!("this is not the answer to an import request: {error}")))
}

fn failed(error: impl std::error::Error) -> Failure {
    Failure::from_error(&error)
}
