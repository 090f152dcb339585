//! Where letters go: a mail server by SMTP, or a folder of `.eml` files.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use lettre::{
    AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor, transport::smtp::authentication::Credentials,
};
use tokio::io::AsyncWriteExt;

use super::letter::{Letter, LetterError};
use crate::{config::Mail, telemetry::with_causes};

/// Seconds for the whole conversation with a mail server. lettre's own timeout covers connecting alone: a server that
/// stops talking later would hold the outbox for ever.
const SEND_TIMEOUT: Duration = Duration::from_secs(60);

/// Why a letter was not delivered.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    #[error("the letter cannot be sent: {0}")]
    Letter(#[from] LetterError),
    #[error("the mail settings cannot be used: {0}")]
    Settings(String),
    #[error("the mail server did not take the letter: {0}")]
    Smtp(String),
    #[error("the mail server did not answer within {} seconds", SEND_TIMEOUT.as_secs())]
    Timeout,
    #[error("cannot write {}: {reason}", path.display())]
    File { path: PathBuf, reason: String },
}

/// The way out.
#[derive(Debug, Clone)]
pub enum Transport {
    Smtp(AsyncSmtpTransport<Tokio1Executor>),
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
        let mut builder = match mail.smtp_tls.as_str() {
            "tls" => AsyncSmtpTransport::<Tokio1Executor>::relay(host).map_err(settings)?,
            "starttls" => AsyncSmtpTransport::<Tokio1Executor>::starttls_relay(host).map_err(settings)?,
            _ => AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host.as_str()),
        };
        builder = builder.port(mail.smtp_port).timeout(Some(Duration::from_secs(15)));
        if let (Some(username), Some(variable)) = (&mail.smtp_username, &mail.smtp_password_env) {
            let password = std::env::var(variable).map_err(|_| {
                TransportError::Settings(format!("mail.smtp_password_env names {variable}, which is not set"))
            })?;
            builder = builder.credentials(Credentials::new(username.clone(), password));
        }
        Ok(Self::Smtp(builder.build()))
    }

    /// Delivers one letter. It returns once the mail server has accepted it, or once it is on the disk.
    ///
    /// # Errors
    /// The letter has not been accepted, or that is unknown (a timeout): send it again later.
    pub async fn deliver(&self, letter: &Letter, from: &str, sender_name: &str) -> Result<(), TransportError> {
        let message = letter.message(from, sender_name)?;
        match self {
            Self::Smtp(transport) => by_smtp(transport.clone(), message).await,
            Self::Folder(folder) => into_folder(folder, &letter.message_id, &message.formatted()).await,
        }
    }
}

/// The conversation runs on a task of its own, so that a timeout drops a task and not a half-spoken connection inside the
/// caller's.
async fn by_smtp(transport: AsyncSmtpTransport<Tokio1Executor>, message: Message) -> Result<(), TransportError> {
    let mut conversation = tokio::spawn(async move { transport.send(message).await });
    match tokio::time::timeout(SEND_TIMEOUT, &mut conversation).await {
        Ok(Ok(Ok(_))) => Ok(()),
        Ok(Ok(Err(error))) => Err(TransportError::Smtp(with_causes(&error))),
        Ok(Err(error)) => Err(TransportError::Smtp(error.to_string())),
        Err(_) => {
            conversation.abort();
            Err(TransportError::Timeout)
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
