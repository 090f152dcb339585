//! One letter to one reader by SMTP, phase by phase: what a refusal means depends on where it was said.
//!
//! A 5xx to RCPT or to the letter itself is about this reader or this letter, and trying again changes nothing. Whatever the
//! server says before that is about the connection: everybody's letters wait for it to be put right. Once the final dot is on
//! its way the outcome is the server's: an answer that does not come leaves it unknown, and the letter is sent again under the
//! same Message-ID.

use std::time::Duration;

use lettre::{
    Message,
    transport::smtp::{
        Error,
        authentication::{Credentials, Mechanism},
        client::{AsyncSmtpConnection, TlsParameters},
        commands::{Data, Mail, Rcpt},
        extension::{ClientId, Extension, MailBodyParameter, MailParameter},
    },
};

use crate::telemetry::with_causes;

/// How long each phase may take (RFC 5321, 4.5.3.2). lettre's own timeout covers connecting alone.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Name, connection and, where it comes first, TLS.
    pub connect: Duration,
    /// The greeting, and each command.
    pub command: Duration,
    /// The letter and the answer to its final dot: who gives up too early gets it delivered twice.
    pub letter: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(15),
            command: Duration::from_secs(60),
            letter: Duration::from_secs(11 * 60),
        }
    }
}

/// How the connection is kept private.
#[derive(Clone)]
pub(super) enum Privacy {
    None,
    /// Without it nothing is said: neither a password nor a letter.
    StartTls(TlsParameters),
    Tls(TlsParameters),
}

/// A mail server.
#[derive(Clone)]
pub struct Server {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) privacy: Privacy,
    pub(super) credentials: Option<Credentials>,
    pub(super) limits: Limits,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("host", &self.host).field("port", &self.port).finish_non_exhaustive()
    }
}

/// Why a letter was not taken.
#[derive(Debug, thiserror::Error)]
pub enum SmtpError {
    #[error("the mail server refused {phase}: {reason}")]
    Refused { phase: &'static str, reason: String },
    #[error("the mail server did not take the letter at {phase}: {reason}")]
    Failed { phase: &'static str, reason: String },
    #[error("the mail server did not answer to {phase} within {} seconds", limit.as_secs())]
    Timeout { phase: &'static str, limit: Duration },
    /// It was on its way when the connection ended.
    #[error("whether the letter arrived is not known: {reason}; it is sent again with the same Message-ID")]
    Unknown { reason: String },
}

impl SmtpError {
    /// Whether trying again changes nothing.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Refused { .. } => true,
            Self::Failed { .. } | Self::Timeout { .. } | Self::Unknown { .. } => false,
        }
    }
}

/// Replies that ask for authentication are about the settings, whatever they answer to (RFC 4954, 6).
const SETTINGS: [u16; 4] = [530, 534, 535, 538];

fn failed(phase: &'static str, error: &Error) -> SmtpError {
    SmtpError::Failed { phase, reason: with_causes(error) }
}

/// A 5xx that is about this reader or this letter.
fn judged(phase: &'static str, error: &Error) -> SmtpError {
    let settings = error.status().is_some_and(|code| SETTINGS.contains(&u16::from(code)));
    if error.is_permanent() && !settings {
        SmtpError::Refused { phase, reason: with_causes(error) }
    } else {
        failed(phase, error)
    }
}

async fn within<T>(
    limit: Duration,
    phase: &'static str,
    asked: impl Future<Output = Result<T, Error>>,
) -> Result<Result<T, Error>, SmtpError> {
    tokio::time::timeout(limit, asked).await.map_err(|_| SmtpError::Timeout { phase, limit })
}

impl Server {
    /// Returns once the server has taken the letter.
    pub(super) async fn send(&self, message: &Message) -> Result<(), SmtpError> {
        let mut connection = self.connect().await?;
        let sent = self.say(&mut connection, message).await;
        // The letter is the server's or it is not: how they part changes nothing.
        let _ended = tokio::time::timeout(self.limits.connect, connection.abort()).await;
        sent
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, SmtpError> {
        let hello = ClientId::default();
        let (first, later) = match &self.privacy {
            Privacy::None => (None, None),
            Privacy::StartTls(parameters) => (None, Some(parameters.clone())),
            Privacy::Tls(parameters) => (Some(parameters.clone()), None),
        };
        let limits = &self.limits;
        // The greeting and EHLO are part of it.
        let limit = limits.connect + 2 * limits.command;
        let address = (self.host.as_str(), self.port);
        let asked = AsyncSmtpConnection::connect_tokio1(address, Some(limits.connect), &hello, first, None);
        let connected = within(limit, "the connection", asked).await?;
        let mut connection = connected.map_err(|error| failed("the connection", &error))?;
        if let Some(parameters) = later {
            let secured = within(2 * limits.command, "STARTTLS", connection.starttls(parameters, &hello)).await?;
            secured.map_err(|error| failed("STARTTLS", &error))?;
        }
        if let Some(credentials) = &self.credentials {
            let mechanisms = [Mechanism::Plain, Mechanism::Login];
            let known = within(limits.command, "AUTH", connection.auth(&mechanisms, credentials)).await?;
            known.map_err(|error| failed("AUTH", &error))?;
        }
        Ok(connection)
    }

    async fn say(&self, connection: &mut AsyncSmtpConnection, message: &Message) -> Result<(), SmtpError> {
        let (envelope, bytes) = (message.envelope(), message.formatted());
        let mut options = Vec::new();
        let mut addresses = envelope.to().iter().chain(envelope.from());
        if addresses.any(|address| !address.to_string().is_ascii()) {
            if !connection.server_info().supports_feature(Extension::SmtpUtfEight) {
                let reason = "it does not take addresses with letters outside ASCII (SMTPUTF8)".to_owned();
                return Err(SmtpError::Refused { phase: "the reader's address", reason });
            }
            options.push(MailParameter::SmtpUtfEight);
        }
        if !bytes.is_ascii() {
            options.push(MailParameter::Body(MailBodyParameter::EightBitMime));
        }
        let limit = self.limits.command;
        let from = Mail::new(envelope.from().cloned(), options);
        within(limit, "MAIL FROM", connection.command(from)).await?.map_err(|error| failed("MAIL FROM", &error))?;
        for reader in envelope.to() {
            let to = Rcpt::new(reader.clone(), Vec::new());
            let taken = within(limit, "RCPT TO", connection.command(to)).await?;
            taken.map_err(|error| judged("the reader (RCPT TO)", &error))?;
        }
        within(limit, "DATA", connection.command(Data)).await?.map_err(|error| judged("DATA", &error))?;
        let taken = tokio::time::timeout(self.limits.letter, connection.message(&bytes)).await;
        match taken {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) if error.status().is_some() => Err(judged("the letter", &error)),
            Ok(Err(error)) => Err(SmtpError::Unknown { reason: with_causes(&error) }),
            Err(_) => {
                let reason = format!("no answer came within {} seconds", self.limits.letter.as_secs());
                Err(SmtpError::Unknown { reason })
            }
        }
    }
}
