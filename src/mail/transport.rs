//! Where letters go: a mail server by SMTP, or a folder of `.eml` files.

use std::{
    io,
    path::{Path, PathBuf},
};

use lettre::transport::smtp::{authentication::Credentials, client::TlsParameters};
use tokio::io::AsyncWriteExt;

use super::{
    letter::{Letter, LetterError},
    smtp::{Limits, Privacy, Server, SmtpError},
};
use crate::config::Mail;

/// Why a letter was not delivered.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    #[error("the letter cannot be sent: {0}")]
    Letter(#[from] LetterError),
    #[error("the mail settings cannot be used: {0}")]
    Settings(String),
    #[error(transparent)]
    Smtp(#[from] SmtpError),
    #[error("cannot write {}: {reason}", path.display())]
    File { path: PathBuf, reason: String },
}

impl TransportError {
    /// Whether trying again changes nothing: the reader is refused, or is none.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Letter(_) => true,
            Self::Smtp(error) => error.is_final(),
            Self::Settings(_) | Self::File { .. } => false,
        }
    }
}

/// The way out.
#[derive(Debug, Clone)]
pub enum Transport {
    Smtp(Box<Server>),
    /// A folder; it is made when the first letter is written.
    Folder(PathBuf),
}

impl Transport {
    /// SMTP if the configuration names a host, otherwise the folder.
    ///
    /// # Errors
    /// Settings that no connection can be made from, such as a password variable that is not set.
    pub fn new(mail: &Mail, folder: &Path) -> Result<Self, TransportError> {
        let Some(host) = &mail.smtp_host else {
            return Ok(Self::Folder(folder.to_owned()));
        };
        let settings = |error: lettre::transport::smtp::Error| TransportError::Settings(error.to_string());
        let parameters = || TlsParameters::new(host.clone()).map_err(settings);
        let privacy = match mail.smtp_tls.as_str() {
            "tls" => Privacy::Tls(parameters()?),
            "starttls" => Privacy::StartTls(parameters()?),
            _ => Privacy::None,
        };
        let mut credentials = None;
        if let (Some(username), Some(variable)) = (&mail.smtp_username, &mail.smtp_password_env) {
            let password = std::env::var(variable).map_err(|_| {
                TransportError::Settings(format!("mail.smtp_password_env names {variable}, which is not set"))
            })?;
            credentials = Some(Credentials::new(username.clone(), password));
        }
        let (host, limits) = (host.clone(), Limits::default());
        Ok(Self::Smtp(Box::new(Server { host, port: mail.smtp_port, privacy, credentials, limits })))
    }

    /// Delivers one letter. It returns once the mail server has accepted it, or once it is on the disk.
    ///
    /// # Errors
    /// The letter has not been accepted, or that is unknown (a timeout): send it again later.
    pub async fn deliver(&self, letter: &Letter, from: &str, sender_name: &str) -> Result<(), TransportError> {
        let message = letter.message(from, sender_name)?;
        match self {
            Self::Smtp(server) => Ok(server.send(&message).await?),
            Self::Folder(folder) => into_folder(folder, &letter.message_id, &message.formatted()).await,
        }
    }
}

/// The name comes from the Message-ID: a letter that is sent again replaces itself.
async fn into_folder(folder: &Path, message_id: &str, bytes: &[u8]) -> Result<(), TransportError> {
    let stem: String = message_id.chars().take_while(|c| *c != '@').filter(char::is_ascii_alphanumeric).collect();
    let path = folder.join(format!("{stem}.eml"));
    let draft = folder.join(format!(".{stem}.draft"));
    let written = async {
        tokio::fs::create_dir_all(folder).await?;
        let mut file = tokio::fs::File::create(&draft).await?;
        file.write_all(bytes).await?;
        file.sync_all().await?;
        tokio::fs::rename(&draft, &path).await?;
        tokio::fs::File::open(folder).await?.sync_all().await
    };
    written.await.map_err(|error: io::Error| TransportError::File { path, reason: error.to_string() })
}

#[cfg(test)]
mod tests;
