use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::mail::letter::Block;

fn letter(text: &str) -> Letter {
    Letter {
        message_id: "<0123abcd@replicon.example>".to_owned(),
        reader: "customer".to_owned(),
        to: "security@dave.example".to_owned(),
        subject: "Keys".to_owned(),
        blocks: vec![Block::Paragraph(text.to_owned())],
        attachments: Vec::new(),
        date: "2026-03-02T10:00:00Z".parse().expect("a time"),
    }
}

async fn deliver(transport: &Transport, text: &str) -> Result<(), TransportError> {
    transport.deliver(&letter(text), "keyferry@replicon.example", "Replicon").await
}

/// A mail server for one conversation: answers RCPT with `verdict`, gives back what was said.
async fn mail_server(verdict: &'static str) -> (Mail, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let heard = tokio::spawn(async move {
        let (socket, _) = listener.accept().await.expect("a client");
        converse(socket, verdict).await
    });
    let mail =
        Mail { smtp_host: Some("127.0.0.1".to_owned()), smtp_port: port, ..crate::config::Config::default().mail };
    (mail, heard)
}

async fn converse(socket: TcpStream, verdict: &str) -> String {
    let mut stream = BufReader::new(socket);
    let (mut heard, mut line, mut in_data) = (String::new(), String::new(), false);
    stream.write_all(b"220 ready\r\n").await.expect("greeted");
    loop {
        line.clear();
        if stream.read_line(&mut line).await.unwrap_or_default() == 0 {
            return heard;
        }
        heard.push_str(&line);
        let answer = match line.trim_end() {
            "." if in_data => {
                in_data = false;
                "250 kept"
            }
            _ if in_data => continue,
            "DATA" => {
                in_data = true;
                "354 go on"
            }
            "QUIT" => "221 bye",
            said if said.starts_with("RCPT") => verdict,
            _ => "250 fine",
        };
        if stream.write_all(format!("{answer}\r\n").as_bytes()).await.is_err() {
            return heard;
        }
    }
}

#[tokio::test]
async fn a_mail_server_gets_the_letter_with_its_message_id() {
    let (mail, heard) = mail_server("250 fine").await;
    let transport = Transport::new(&mail, Path::new("unused")).expect("settings");
    deliver(&transport, "The policy is attached.").await.expect("accepted");
    drop(transport);
    let heard = heard.await.expect("the server ends");
    assert!(heard.contains("RCPT TO:<security@dave.example>"), "{heard}");
    assert!(heard.contains("Message-ID: <0123abcd@replicon.example>"), "{heard}");
    assert!(heard.contains("The policy is attached."), "{heard}");
}

#[tokio::test]
async fn a_refusal_is_an_error_that_says_what_the_server_said() {
    let (mail, _heard) = mail_server("550 no such mailbox").await;
    let transport = Transport::new(&mail, Path::new("unused")).expect("settings");
    let error = deliver(&transport, "text").await.expect_err("refused").to_string();
    assert!(error.contains("no such mailbox"), "{error}");
}

#[tokio::test]
async fn a_letter_sent_again_replaces_its_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let transport =
        Transport::new(&crate::config::Config::default().mail, &folder.path().join("mail")).expect("settings");
    deliver(&transport, "first").await.expect("written");
    deliver(&transport, "second").await.expect("written");
    let names: Vec<String> = std::fs::read_dir(folder.path().join("mail"))
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    assert_eq!(names, ["0123abcd.eml"]);
    let text = std::fs::read_to_string(folder.path().join("mail/0123abcd.eml")).expect("the letter");
    assert!(text.contains("second") && !text.contains("first"), "{text}");
}

#[test]
fn a_password_variable_that_is_not_set_is_told_at_start() {
    let mail = Mail {
        smtp_host: Some("mail.example".to_owned()),
        smtp_tls: "tls".to_owned(),
        smtp_username: Some("keyferry".to_owned()),
        smtp_password_env: Some("KEYFERRY_TEST_PASSWORD_THAT_IS_NOT_SET".to_owned()),
        ..crate::config::Config::default().mail
    };
    let error = Transport::new(&mail, Path::new("unused")).expect_err("no password").to_string();
    assert!(error.contains("KEYFERRY_TEST_PASSWORD_THAT_IS_NOT_SET"), "{error}");
}
